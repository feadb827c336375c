"""One model in a child process under a time limit. If the process is killed, only one cell is lost."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import psutil

from benchmarks.zoo_cells.judge import Cell
from benchmarks.zoo_cells.recipes import ACCURACY
from components.core.child import end_with_parent
from components.upstream.fork_server import ForkedProcess, exit_code, fork_server, forked, release_server

_CELLS, _STAGE, _LOG = "cells.jsonl", "stage.json", "log"
# The processes start with TensorFlow loaded, because it takes five seconds to import.
_SERVER = fork_server(["benchmarks.zoo_cells.accuracy"])


class _ModelProcess(ForkedProcess):
    def __init__(self, name: str, recipes: Sequence[str], folder: Path) -> None:
        self._name, self._recipes, self._folder = name, recipes, folder

    def run(self) -> int:
        end_with_parent()
        release_server()
        tempfile.tempdir = str(self._folder)
        descriptor = os.open(self._folder / _LOG, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
        try:
            from benchmarks.zoo_cells.accuracy import AccuracyRun
            from benchmarks.zoo_cells.run import ZooRun
            from benchmarks.zoo_models import ZOO

            asked = {
                ZooRun: [recipe for recipe in self._recipes if recipe != ACCURACY],
                AccuracyRun: [recipe for recipe in self._recipes if recipe == ACCURACY],
            }
            for kind, recipes in asked.items():
                if recipes:
                    folder = self._folder / kind.__name__
                    folder.mkdir()
                    kind(ZOO[self._name], recipes, folder, self._report, self._enter).run()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            return 1
        return 0

    def _report(self, cell: Cell) -> None:
        with (self._folder / _CELLS).open("a") as file:
            file.write(json.dumps(cell.as_json()) + "\n")

    def _enter(self, recipe: str, stage: str, pending: str) -> None:
        (self._folder / _STAGE).write_text(json.dumps({"recipe": recipe, "stage": stage, "pending": pending}))


def run_model(name: str, recipes: Sequence[str], timeout: float, report: Callable[[Cell], None]) -> None:
    """Judge all cells of a model.

    Args:
        name: The model's name.
        recipes: Names of the recipes.
        timeout: Seconds per process. If a process is stopped or dies, its current cell is lost, and another process
            judges the next cells.
        report: Takes each cell.
    """
    left = list(recipes)
    while left:
        with tempfile.TemporaryDirectory(prefix="edgemill-zoo-") as temporary:
            folder = Path(temporary)
            ended = _ended(_ModelProcess(name, left, folder), timeout)
            cells = [Cell(**json.loads(line)) for line in _read(folder / _CELLS).splitlines()]
            for cell in cells:
                report(cell)
            left = [recipe for recipe in left if recipe not in {cell.recipe for cell in cells}]
            if not left:
                return
            at = json.loads(_read(folder / _STAGE) or "{}")
            said = _last_line(_read(folder / _LOG))
        # If it dies before the first recipe, the model itself is at fault, and all its cells are lost.
        lost = [at["recipe"]] if at.get("recipe") in left else left
        for recipe in lost:
            if at.get("pending"):
                report(Cell(name, recipe, "refused", f"{at['pending']} [a plain script: {ended}]"))
            else:
                report(Cell(name, recipe, "defect", f"{ended} while {at.get('stage', 'starting')}: {said}"))
        left = [recipe for recipe in left if recipe not in lost]


def _ended(process: _ModelProcess, timeout: float) -> str:
    """Run a process, and say how it ended."""
    preparation: dict[str, Any] = {"sys_path": sys.path, "dir": str(Path.cwd())}
    began = time.monotonic()
    with forked(_SERVER, preparation, process) as (child, sentinel):
        if not wait([sentinel], timeout):
            parent = psutil.Process(child)
            for member in (*parent.children(recursive=True), parent):
                member.kill()
            wait([sentinel])
            return f"stopped after {time.monotonic() - began:.0f} s"
        code = exit_code(sentinel)
    return f"the process ended with {code}" if code >= 0 else f"the process died of signal {-code}"


def _read(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _last_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
