#!/bin/bash
# Builds the wheel, and installs it by the commands of docs/install.md and docs/registry.md into fresh environments with
# the locked packages. Away from the checkout, it then goes from a table and a model of Keras 3 to a blessed int8 release.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PATH=$root/.uv/bin:$PATH

python3 - "$folder" <<'PYTHON'
import re
import sys
from pathlib import Path

folder = Path(sys.argv[1])


def block(page: str, word: str) -> str:
    found = re.findall(r"^```sh\n(.*?)^```", Path(page).read_text(), re.MULTILINE | re.DOTALL)
    (one,) = (each for each in found if word in each)
    return one.replace("~/", f"{folder}/")


(folder / "install.sh").write_text(block("docs/install.md", "make wheel"))
(device,) = (line for line in block("docs/registry.md", "[device]").splitlines() if line.startswith("pip install"))
(folder / "device.sh").write_text(device)
PYTHON

echo "== the wheel with the locked packages"
bash -euo pipefail "$folder/install.sh"
mkdir "$folder/project"
cp tests/own_models.py "$folder/project/"
cd "$folder/project"
python=$folder/edgemill/bin/python
"$python" -c "
import sys
from pathlib import Path
import edgemill, components, pipelines, kubeflow
for package in (edgemill, components, pipelines, kubeflow):
    for place in package.__path__:
        assert '$root' not in place, place
assert Path(edgemill.__file__).is_relative_to(sys.prefix), edgemill.__file__
"
"$folder/edgemill/bin/edgemill" --version
"$folder/edgemill/bin/edgemill" doctor --deep
"$python" own_models.py table . 600
"$folder/edgemill/bin/edgemill" optimize my_model.keras --data weather.csv --device cortex_m55 --summary-json status.json
"$folder/edgemill/bin/edgemill" verify latest
"$python" -c "
import json
from pathlib import Path
status = json.loads(Path('status.json').read_text())
assert status['verdict'] == 'pushed' and status['devices'][0]['chosen'] == 'int8', status
"

echo "== the wheel with the extra for devices"
"$folder/edgemill/bin/edgemill" registry init registry --keys keys
python3 -m venv "$folder/device"
cd "$root/build/dist"
PATH=$folder/device/bin:$PATH bash -euo pipefail "$folder/device.sh"
cd "$folder/project"
"$folder/device/bin/python" -c "
import importlib.util
assert not any(map(importlib.util.find_spec, ('tensorflow', 'tfx', 'typer', 'pydantic')))
"
"$folder/device/bin/edgemill-device" init device --url https://models.example.com/registry --root keys/root.json \
  --device-class phone --name shoes --device-id test
"$folder/device/bin/edgemill-device" status device
echo "the wheel works outside the checkout"
