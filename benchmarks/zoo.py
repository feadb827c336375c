"""Runs a zoo of small models of all kinds through every recipe.

    python -m benchmarks.zoo [--models unet lstm] [--kinds dense] [--recipes int8 qat] [--update] [--resume]

Each cell of the matrix is `works` (the file's outputs agree with those of a plain interpreter loop, and with those of
the float model within a bound for the format), `refused` before the run with the reason, or a defect: a failure in
conversion or training, a crash, wrong numbers, or a refusal although a plain converter script produces a file that
runs. The weights are random. The benchmark calls the same functions as the pipeline's nodes. In the column `accuracy`,
classifiers of each kind learn a task, and int8 after `qat` must be at most half a point below plain int8.

Bounds: no defect, at least 95 % of the models accepted, and at least 85 % of the models with layers train under `qat`,
every family of `keras.applications` among them. With `--update`, other cells come from the last run. With `--resume`,
a run continues where it was interrupted: models that the same code has judged aren't judged again.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import components  # noqa: F401  # chooses tf-keras before TensorFlow is imported
from benchmarks.zoo_cells.judge import Cell
from benchmarks.zoo_cells.process import run_model
from benchmarks.zoo_cells.progress import Progress
from benchmarks.zoo_cells.recipes import ACCURACY, LEARNERS, RECIPES
from benchmarks.zoo_cells.table import accepted, coverage, figures, matrix, merged, reasons
from benchmarks.zoo_models import ZOO
from components.core.version import code_version

ACCEPTED, TRAINED = 0.95, 0.85
COLUMNS = [*RECIPES, ACCURACY]
FAMILIES = [name for name, entry in ZOO.items() if entry.kind == "keras.applications"]


def main() -> None:
    """Print the matrix, the figures, and the reasons. Exit with an error if a bound is not met."""
    asked = _arguments()
    names = [
        name for name, entry in ZOO.items()
        if (not asked.models or name in asked.models) and (not asked.kinds or entry.kind in asked.kinds)
        and _asked_of(name, asked.recipes)
    ]  # fmt: skip
    began, cells, code = time.monotonic(), list[Cell](), code_version("benchmarks.zoo")
    lock, done, progress = threading.Lock(), 0, Progress(asked.out, code)

    seconds: dict[str, float] = {}

    def judge(name: str) -> None:
        nonlocal done
        own, started = list[Cell](), time.monotonic()
        kept = progress.cells_of(name, _asked_of(name, asked.recipes)) if asked.resume else None
        if kept is None:
            run_model(name, _asked_of(name, asked.recipes), asked.timeout, own.append)
        with lock:
            if kept is None:
                progress.add(name, own)
                seconds[name] = time.monotonic() - started
            own = own if kept is None else kept
            done += 1
            cells.extend(own)
            marks = " ".join(f"{cell.recipe}={cell.verdict}" for cell in own)
            print(f"[{done}/{len(names)}, {time.monotonic() - began:.0f} s] {name}: {marks}", flush=True)
            for cell in own:
                if cell.verdict == "defect":
                    print(f"    {cell.recipe}: {cell.reason}", flush=True)

    with ThreadPoolExecutor(asked.jobs) as pool:
        # Families take the longest, so they don't come last, when one process would work alone.
        for result in [pool.submit(judge, name) for name in sorted(names, key=lambda name: name not in FAMILIES)]:
            result.result()
    recipes = list(asked.recipes)
    if asked.update and (asked.out / "zoo.json").exists():
        earlier = [Cell(**fields) for fields in json.loads((asked.out / "zoo.json").read_text())]
        cells, recipes = merged(earlier, cells), [*RECIPES, ACCURACY]
    order = list(ZOO)
    cells.sort(key=lambda cell: (order.index(cell.model), recipes.index(cell.recipe)))
    kinds = {name: entry.kind for name, entry in ZOO.items()}
    table, summary = matrix(cells, kinds, recipes), figures(cells, recipes, FAMILIES)
    why = reasons(cells)
    slowest = sorted(seconds, key=lambda name: -seconds[name])[:10]
    print(f"\n{table}\n\n{why}\n\n{summary}\n{len(names)} models in {(time.monotonic() - began) / 60:.0f} minutes, "
          f"by code {code}; slowest: {', '.join(f'{name} {seconds[name]:.0f} s' for name in slowest)}")  # fmt: skip
    (asked.out / "zoo.json").write_text(json.dumps([cell.as_json() for cell in cells], indent=1))
    (asked.out / "zoo.md").write_text(f"# Zoo\n\n{summary}\n\n{table}\n\n{why}\n")
    if len(names) == len(ZOO):
        progress.remove()
    if unmet := _unmet(cells):
        raise SystemExit(f"not met: {'; '.join(unmet)}")


def _asked_of(name: str, recipes: Sequence[str]) -> list[str]:
    return [recipe for recipe in recipes if recipe != ACCURACY or name in LEARNERS]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the zoo of models.")
    parser.add_argument("--models", nargs="+", choices=ZOO, metavar="MODEL", help="only these models")
    parser.add_argument("--kinds", nargs="+", choices=sorted({entry.kind for entry in ZOO.values()}), help="only these")
    parser.add_argument("--recipes", nargs="+", choices=COLUMNS, default=COLUMNS, help="only these recipes")
    parser.add_argument("--jobs", type=int, default=2, help="models at the same time")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for the process of a model")
    parser.add_argument("--out", type=Path, default=Path("build/zoo"), help="folder of zoo.json and zoo.md")
    parser.add_argument("--update", action="store_true", help="keep the other cells of the last run in the table")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run of the same code")
    return parser.parse_args()


def _unmet(cells: list[Cell]) -> list[str]:
    trained = [cell for cell in cells if cell.recipe == "qat"]
    unmet = [f"{coverage(cells).defects} defects"] if coverage(cells).defects else []
    if (share := accepted(cells).share) < ACCEPTED:
        unmet.append(f"{share:.0%} of the models accepted (at least {ACCEPTED:.0%})")
    if (share := coverage(trained).share) < TRAINED:
        unmet.append(f"{share:.0%} of the models with layers train under qat (at least {TRAINED:.0%})")
    if lacking := [cell.model for cell in trained if cell.model in FAMILIES and cell.verdict != "works"]:
        unmet.append(f"families that don't train under qat: {', '.join(lacking)}")
    return unmet


if __name__ == "__main__":
    main()
