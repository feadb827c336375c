"""Recognizes columns of tables, and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import DataError, counted, one_of, some_of
from components.ingest.listing import number
from edgemill.project.found import HELD_OUT, TRAINING, Data, Options, label_of, read_table


def of_table(folder: Path, splits: dict[str, Any], files: Sequence[Path], options: Options) -> Data:
    """Recognize the columns of CSV tables. Raises a DataError for empty cells, and for text that is not the label."""
    names: list[str] = []
    rows: list[dict[str, str]] = []
    for file in files:
        names, more = read_table(file)
        rows += more
    label = label_of(names, options)
    columns = options.columns or tuple(name for name in names if name != label)
    cells = {name: [row.get(name) or "" for row in rows] for name in (*columns, label)}
    if empty := {name: held.count("") for name, held in cells.items() if "" in held}:
        raise DataError(
            f"columns have empty cells: {', '.join(f'{name} ({count})' for name, count in empty.items())}",
            where=", ".join(map(str, files)),
            bound=f"a value in each of {counted(len(rows), 'row')}",
            remedy="fill in the cells or remove the rows, or choose other columns with --columns",
        )
    if text := [name for name in columns if any(number(cell) is None for cell in cells[name])]:
        raise DataError(
            f"columns hold text: {some_of(text)}",
            where="--columns",
            bound="columns of numbers, in the order of the model's input",
            measured=", ".join(f"{name}: {cells[name][0]!r}" for name in text[:3]),
            remedy="choose the columns of the input with --columns, and write text as numbers as in the training of "
            "the model",
        )
    classes = () if all(number(cell) is not None for cell in cells[label]) else tuple(sorted(set(cells[label])))
    types = {name: "int64" if all(_whole(cell) for cell in cells[name]) else "float32" for name in columns}
    label_type = "int64" if classes or all(_whole(cell) for cell in cells[label]) else "float32"
    return Data.model_validate(
        {"kind": "csv", "folder": folder, "label": label, "classes": classes, "label_type": label_type,
         "columns": types, "splits": splits, "count": len(rows)}
    )  # fmt: skip


def _whole(cell: str) -> bool:
    return cell.strip().lstrip("+-").isdecimal()


def of_archive(file: Path, options: Options) -> Data:
    """Recognize the arrays of a `.npz` file."""
    with np.load(file, allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    for training in TRAINING:
        for held_out in HELD_OUT:
            base = {name.removesuffix(f"_{training}"): name for name in arrays if name.endswith(f"_{training}")}
            if base and all(f"{name}_{held_out}" in arrays for name in base):
                names = {name: f"{name}_{{split}}" for name in base}
                splits = {"kind": "declared", "patterns": {training: file.name, held_out: file.name}}
                chosen = {name: arrays[array] for name, array in base.items()}
                return of_arrays(file.parent, chosen, splits, names, options)
    return of_arrays(file.parent, arrays, {"kind": "hashed", "pattern": file.name}, {}, options)


def of_arrays(
    folder: Path, arrays: dict[str, Any], splits: dict[str, Any], names: dict[str, str], options: Options
) -> Data:
    """Recognize which array is the input, and which is the label. Raises a DataError if it is not clear."""
    label = label_of(list(arrays), options)
    inputs = list(options.columns) or [name for name in arrays if name != label]
    if len(inputs) != 1 or inputs[0] not in arrays:
        raise DataError(
            "it is not clear which array is the input",
            where="--columns",
            bound=one_of(name for name in arrays if name != label),
            remedy="name one array with --columns",
        )
    [array] = inputs
    values, labels = arrays[array], arrays[label]
    stored = "uint8" if values.dtype == np.uint8 and values.ndim > 2 else (
        "float32" if np.issubdtype(values.dtype, np.floating) else "int64"
    )  # fmt: skip
    text = labels.dtype.kind in "US"
    classes = tuple(sorted({str(each) for each in labels.tolist()})) if text else ()
    chosen = {name: names.get(name, name) for name in (array, label)}
    return Data.model_validate(
        {"kind": "arrays", "folder": folder, "label": label, "classes": classes, "columns": {array: stored},
         "label_type": "float32" if np.issubdtype(labels.dtype, np.floating) else "int64",
         "splits": splits, "count": len(values),
         "fields": {"names": chosen} if names or len(arrays) > 2 else {}}
    )  # fmt: skip
