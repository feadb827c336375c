"""Compares the example without recipes that train with a plain script: `python benchmarks/pipeline.py`.

Measures wall times of complete processes, interleaved, and takes minima over the rounds. Measures the first run and an
unchanged second run, and lists the nodes that a run with one more recipe executes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "pipelines" / "fashion_mnist" / "pipeline.yaml"
EDGEMILL = Path(sys.executable).parent / "edgemill"
ROUNDS = 2


def main() -> None:
    """Print the figures and their bounds."""
    plain, first, second = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(ROUNDS):
            root = Path(temporary, str(number))
            plain.append(_seconds([sys.executable, str(HERE / "plain_script.py")]))
            file = _copy(root)
            first.append(_run(file, root))
            second.append(_run(file, root))
        print(f"plain script        {min(plain):6.1f} s")
        print(
            f"first run           {min(first):6.1f} s   {min(first) / min(plain):.2f} of the plain script (at most 1.8)"
        )
        print(
            f"unchanged run       {min(second):6.1f} s   {min(second) / min(first):.2f} of the first run (at most 0.35)"
        )
        _add_a_recipe(file)
        _run(file, root)
        print("with one more recipe, these nodes executed:", ", ".join(_executed(root)))


def _copy(root: Path) -> Path:
    """Return the example with its registry below `root`, so that rounds do not see each other's releases."""
    content = yaml.safe_load(EXAMPLE.read_text())
    content["recipes"] = [recipe for recipe in content["recipes"] if not recipe.get("steps")]
    content["examples"]["path"] = str(EXAMPLE.parent / content["examples"]["path"])
    content["push"]["root"] = str(root / "registry")
    root.mkdir(parents=True)
    (root / "pipeline.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return root / "pipeline.yaml"


def _add_a_recipe(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    content["recipes"].append(
        {"name": "int8_per_tensor", "scheme": {"kind": "static_wi8_ai8", "granularity": "per_tensor"}}
    )
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def _run(file: Path, root: Path) -> float:
    return _seconds([str(EDGEMILL), "run", str(file), "--root", str(root / "edgemill")])


def _seconds(command: list[str]) -> float:
    begun = time.monotonic()
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return time.monotonic() - begun


def _executed(root: Path) -> list[str]:
    newest = max((root / "edgemill" / "fashion-mnist" / "runs").iterdir())
    summary = json.loads((newest / "summary.json").read_text())
    return [node["id"] for node in summary["nodes"] if node["state"] == "complete"]


if __name__ == "__main__":
    main()
