#!/bin/bash
# Runs the commands of docs/own-model-tutorials.md as they are there: from data as users have them, and models of Keras 3
# that Edgemill has never seen, to blessed int8 releases. With arguments, only the tutorials whose commands name them,
# such as `tests/own_models.sh table`.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The commands of this checkout, whatever is installed.
mkdir "$folder/bin"
printf '#!/bin/bash\nexec %q "$@"\n' "$python" >"$folder/bin/python"
printf '#!/bin/bash\nexec %q -m edgemill "$@"\n' "$python" >"$folder/bin/edgemill"
chmod +x "$folder/bin/"*
export PATH=$folder/bin:$PATH
ln -s "$root/tests" "$root/pipelines" "$folder/"
"$python" - "$folder" <<'PYTHON'
import re
import sys
from pathlib import Path

text = Path("docs/own-model-tutorials.md").read_text()
blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
assert len(blocks) == 4, len(blocks)
for block in blocks:
    kind = re.search(r"own_models\.py (\w+) ", block)[1]
    Path(sys.argv[1], f"{kind}.sh").write_text(block)
PYTHON

for kind in "${@:-}"; do
  for block in "$folder/"${kind:-*}.sh; do
    name=$(basename "$block" .sh)
    echo "== $name"
    began=$SECONDS
    (cd "$folder" && bash -euo pipefail "$block")
    (cd "$folder/tutorial/$name" && "$python" - "$((SECONDS - began))" <<'PYTHON'
import json
import sys
from pathlib import Path

[summary] = Path("build/edgemill").glob("*/runs/*/summary.json")
facts = json.loads(summary.read_text())
assert facts["verdict"] == "pushed" and facts["decisions"][0]["chosen"] == "int8", facts["decisions"]
[release] = Path("my_model/registry").rglob("model.tflite")
print(f"released int8: {release.stat().st_size:,} bytes; {sys.argv[1]} s with the training of the model")
PYTHON
    )
  done
done
