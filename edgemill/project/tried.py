"""Reads examples of all splits to try a model on."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.data.ready_made import Stored
from components.ingest.arrays import generated, open_arrays
from components.ingest.listing import class_number
from components.ingest.sources import matching
from edgemill.project.found import TABLES, Data, read_table
from edgemill.project.kinds.parquet import parquet_table
from pipelines.checks.examples.made import sampled
from pipelines.checks.first_records import files_by_split
from pipelines.file.spec import ArrayExamples, GeneratorExamples

Array = npt.NDArray[Any]
# Number of examples from all splits to try the model on.
_TRIED = 400


def read_tried(
    data: Data, examples: Any, classes: tuple[str, ...], features: dict[str, Stored]
) -> tuple[dict[str, Array], Array]:
    """Up to `_TRIED` examples from all splits as feature -> [N, ...], and their labels as numbers."""
    values: dict[str, list[Array]] = {name: [] for name in features}
    labels: list[Any] = []
    if data.kind in TABLES:
        files = [file for _, found in files_by_split(examples) for file in found]
        rows = [row for file in files for row in _rows(file, data, features)]
        rows = rows[:: max(1, len(rows) // _TRIED)][:_TRIED]
        values = {name: [np.array(_number(row[name])) for row in rows] for name in features}
        labels = [row[data.label] for row in rows] if data.label else []
    elif isinstance(examples, ArrayExamples):
        for split, pattern in examples.patterns.items():
            arrays = open_arrays(examples, matching(Path(examples.path), [pattern]), split or "", data.label)
            step = max(1, len(next(iter(arrays.values()))) * len(examples.patterns) // _TRIED)
            for name, held in values.items():
                held += list(arrays[name][::step])
            labels += arrays[data.label][::step].reshape(-1).tolist() if data.label else []
    elif isinstance(examples, GeneratorExamples):
        for split in examples.patterns:
            for row in islice(generated(examples, split), 0, None, max(1, data.count // _TRIED)):
                for name, held in values.items():
                    held.append(
                        np.frombuffer(row[name], np.uint8) if features[name] == "uint8" else np.array(row[name])
                    )
                labels += np.ravel(row[data.label]).tolist() if data.label else []
    else:
        [(name, stored)] = ((name, stored) for name, stored in features.items() if name not in data.labels)
        found = [row for sample in sampled(examples, _TRIED) for row in sample.rows]
        content = [np.frombuffer(row[name], stored) for row in found]
        several = {label: np.array([_number(row[label]) for row in found]) for label in data.labels}
        own = [row[data.label] for row in found] if data.label else []
        return {name: np.stack(content), **several}, np.array(own, np.float64)
    if classes:
        labels = [class_number(label, classes, "--data") for label in labels]
    return {name: np.stack(held) for name, held in values.items()}, np.array(labels, np.float64)


def _number(cell: Any) -> float:
    """The number in a cell, or 1 for true and 0 for false."""
    text = str(cell).strip().lower()
    return float(text == "true") if text in {"true", "false"} else float(cell)


def _rows(file: Path, data: Data, features: Iterable[str]) -> list[dict[str, Any]]:
    if data.kind == "csv":
        return read_table(file)[1]
    table = parquet_table(file).select([*features, *([data.label] if data.label else [])])
    evenly = list(range(0, len(table), max(1, len(table) // _TRIED)))
    rows: list[dict[str, Any]] = table.take(evenly).to_pylist()
    return rows
