"""Combinations of pruning, clustering, and training under quantization on the example.

Runs the example's recipes with and without each step as a user would. Then trains a pruned model under quantization
without preserving its zeros. Prints accuracy, sizes, and the fraction of zeros of each file.

    python benchmarks/combinations.py

Bounds: the recipe with all three steps is at least 12 times smaller than float, both under gzip, and loses at most one
point of accuracy.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from components.spec.recipe import Recipe
from pipelines.graph.steps import chain

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "pipelines" / "fashion_mnist" / "pipeline.yaml"
EDGEMILL = Path(sys.executable).parent / "edgemill"
SMALLER, POINTS = 12.0, 0.01
INT8 = "static_wi8_ai8"


def main() -> None:
    """Print the figures. Exit with an error if a bound is not met."""
    content = yaml.safe_load(EXAMPLE.read_text())
    own = {recipe["name"]: recipe for recipe in content["recipes"]}
    prune, cluster, qat = own["pcqat_int8"]["steps"]
    uniform = {name: value for name, value in prune.items() if name != "spread"}
    recipes = [
        *(own[name] for name in ("float32", "int8", "qat_int8", "sparse_int8", "clustered_int8", "pcqat_int8")),
        {"name": "uniform_int8", "steps": [uniform], "scheme": INT8},
        {"name": "pqat_int8", "steps": [prune, qat], "scheme": INT8},
        {"name": "cqat_int8", "steps": [cluster, qat], "scheme": INT8},
    ]
    pruned = chain(Recipe.model_validate(own["sparse_int8"]))[0].id
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found = _run({**content, "recipes": recipes}, folder / "first")
        (model,) = (folder / "first").glob(f"root/*/artifacts/{pruned}/trained/*/Format-Keras/model.keras")
        baseline = {"kind": "pretrained", "path": str(model)}
        unknowing = [own["float32"], {"name": "qat_int8", "steps": [qat], "scheme": INT8}]
        forgot = _run({**content, "baseline": baseline, "recipes": unknowing}, folder / "second")
    reference = found["float32"]
    print(f"{'recipe':34}{'accuracy':>9}{'bytes':>9}{'gzip':>9}{'zstd':>9}{'smaller':>9}{'zeros':>7}{'values':>8}")
    for name, one in {**found, "qat that ignores the pruning": forgot["qat_int8"]}.items():
        facts = one["outcome"]["inspection"]
        weights = [weight for weight in facts["weights"] if len(weight["shape"]) > 1]
        zeros = sum(weight["sparsity"] * weight["bytes"] for weight in weights) / sum(w["bytes"] for w in weights)
        packed = one["compressed"]
        print(
            f"{name:34}{_accuracy(one):9.3f}{facts['file_bytes']:9,}{packed['gzip']:9,}{packed['zstd']:9,}"
            f"{reference['compressed']['gzip'] / packed['gzip']:9.2f}{zeros:7.2f}"
            f"{max(weight['unique_values'] for weight in weights):8,}"
        )
    both = found["pcqat_int8"]
    smaller = reference["compressed"]["gzip"] / both["compressed"]["gzip"]
    raw = reference["outcome"]["inspection"]["file_bytes"] / both["compressed"]["gzip"]
    lost = _accuracy(reference) - _accuracy(both)
    print(f"\nall three steps: {smaller:.2f} times smaller, both under gzip (at least {SMALLER:g}); compared with the")
    print(f"uncompressed float file {raw:.2f} times; accuracy lost: {lost:+.3f} (at most {POINTS:g})")
    if smaller < SMALLER or lost > POINTS + 1e-9:
        raise SystemExit("a bound is not met")


def _accuracy(candidate: dict[str, Any]) -> float:
    return float(candidate["slices"][0]["metrics"]["accuracy"]["value"])


def _run(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a pipeline file. Returns recipe name -> the candidate's part of the evaluation report."""
    folder.mkdir(parents=True)
    content["examples"] = {**content["examples"], "path": str(EXAMPLE.parent / "data")}
    content["push"] = {**content["push"], "root": str(folder / "registry")}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    command = [str(EDGEMILL), "run", str(folder / "pipeline.yaml"), "--root", str(folder / "root")]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    # 3: a gate refused every candidate. The summary still has the figures.
    if done.returncode not in {0, 3}:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    (summary,) = (folder / "root").glob("*/runs/*/summary.json")
    return {one["recipe"]["name"]: one for one in json.loads(summary.read_text())["evaluation"]["candidates"]}


if __name__ == "__main__":
    main()
