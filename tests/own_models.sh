#!/bin/bash
# From data as users have them, and models of Keras 3 that Edgemill has never seen, to blessed int8 releases: one command
# for each, and no Python written by hand. The data and the models come from tests/own_models.py.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

try() { # KIND COUNT DATA
  echo "== $1"
  "$python" tests/own_models.py "$1" "$folder/$1" "$2" 2>/dev/null
  (
    cd "$folder/$1"
    began=$SECONDS
    "$python" -m edgemill optimize my_model.keras --data "$3" --device cortex_m55
    release=$(find my_model/registry -name model.tflite)
    test "$(wc -l <<<"$release")" = 1
    "$python" - "$((SECONDS - began))" "$(stat -c %s "$release")" <<'PYTHON'
import json
import sys
from pathlib import Path

[summary] = Path("build/edgemill").glob("*/runs/*/summary.json")
facts = json.loads(summary.read_text())
assert facts["verdict"] == "pushed" and facts["decisions"][0]["chosen"] == "int8", facts["decisions"]
print(f"released int8: {sys.argv[2]} bytes after {sys.argv[1]} s")
PYTHON
  )
}

try images 2000 images
try sounds 600 sounds
try table 600 weather.csv
try arrays 600 arrays.npz
