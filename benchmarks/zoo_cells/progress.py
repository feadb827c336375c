"""The models that a run of the zoo has judged so far, so that an interrupted run can continue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.zoo_cells.judge import Cell

_FILE = "progress.jsonl"


class Progress:
    """A file with a line for each model.

    Args:
        folder: The folder of the run.
        code: The version of the code. Models that different code judged are judged again.
    """

    def __init__(self, folder: Path, code: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._code = folder / _FILE, code
        self._cells: dict[str, list[Cell]] = {}
        for line in self._path.read_text().splitlines() if self._path.exists() else ():
            try:
                found = json.loads(line)
            except ValueError:  # The process ended while writing the line.
                continue
            if found["code"] == code:
                self._cells[found["model"]] = [Cell(**fields) for fields in found["cells"]]

    def cells_of(self, model: str, recipes: Sequence[str]) -> list[Cell] | None:
        """The cells of a model; None if not all these recipes were judged by this code."""
        cells = [cell for cell in self._cells.get(model, ()) if cell.recipe in recipes]
        return cells if {cell.recipe for cell in cells} == set(recipes) else None

    def add(self, model: str, cells: Sequence[Cell]) -> None:
        """Write the cells of a model."""
        line = json.dumps({"code": self._code, "model": model, "cells": [cell.as_json() for cell in cells]})
        with self._path.open("a") as file:
            # The last line may be incomplete.
            file.write(f"\n{line}\n")

    def remove(self) -> None:
        """Remove the file of a run that is complete."""
        self._path.unlink(missing_ok=True)
