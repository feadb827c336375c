"""Recognizes columns of tables, and arrays."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import DataError, some_of
from components.ingest.arrays import arrays_in, check_lengths, class_numbers
from edgemill.project.found import (
    HELD_OUT,
    TRAINING,
    Data,
    Options,
    chosen_columns,
    file_splits,
    read_table,
    refuse_labels,
    refuse_one_label,
)
from edgemill.project.numbered import numbers_in
from edgemill.project.unusable import Unusable, refuse

# Text that stands for a missing value in tables.
_MISSING = frozenset({"", "?", "n/a", "na", "nan", "none", "null"})
# Text that TFX also reads as numbers. Python also reads `1_000`, `inf`, and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_LARGEST = 2**63
# A number as spreadsheets show it: 1.234,5 or 1,234.5 or 1 234,5 or 1'234.5.
_GROUPED = re.compile(r"[+-]?\d{1,3}((\.\d{3})+(,\d+)?|(,\d{3})+(\.\d+)?|([ \u00a0\u202f'\u2019]\d{3})+([.,]\d+)?)")


def of_table(folder: Path, splits: dict[str, Any], files: Sequence[Path], options: Options) -> Data:
    """Recognize the columns of CSV tables.

    Raises:
        DataError: The label, or a column that the user chose, has empty cells.
        UnclearError: There is no column of numbers, or a column that the user chose contains something other than
            numbers.
    """
    names: list[str] = []
    rows: list[dict[str, str]] = []
    places: list[str] = []
    for file in files:
        others, more, lines = read_table(file)
        if names and set(others) != set(names):
            raise DataError(
                "the tables have different columns",
                where=str(file),
                bound=", ".join(names),
                measured=", ".join(others),
                remedy="give all tables the same columns, or name one table with --data",
            )
        names = names or others
        rows += more
        places += [f"line {line}" if len(files) == 1 else f"line {line} of {file.name}" for line in lines]
    labels, columns = chosen_columns(names, options)
    where = ", ".join(map(str, files))
    cells = {name: [row[name].strip() for row in rows] for name in (*columns, *labels)}
    for label in labels:
        if missing := sum(map(_is_missing, cells[label])):
            empty = Unusable(reason="missing values", measured=_first(cells[label], places, _is_missing),
                             missing=missing)  # fmt: skip
            refuse({label: empty}, (), where, len(rows), label=True)
    found = {name: _unusable(cells[name], places) for name in columns}
    unusable = {name: why for name, why in found.items() if why is not None}
    usable = [name for name in columns if name not in unusable]
    if options.columns or not usable:
        refuse(unusable, usable, where, len(rows))
    types = {name: _type(cells[name]) for name in usable}
    facts = {"kind": "csv", "folder": folder, "columns": types, "unusable": unusable, "splits": splits,
             "count": len(rows)}  # fmt: skip
    if len(labels) > 1:
        refuse_labels(other_than_numbers({name: cells[name] for name in labels}, places), where)
        return Data.model_validate(
            {**facts, "label": "", "labels": {name: _type(cells[name]) for name in labels},
             "not_binary": other_than_binary({name: cells[name] for name in labels}, places)}
        )  # fmt: skip
    refuse_one_label(cells[label], label, where, len(rows))
    classes = () if all(map(_is_number, cells[label])) else tuple(sorted({row[label] for row in rows}))
    label_type = "int64" if classes or all(map(_whole, cells[label])) else "float32"
    return Data.model_validate({**facts, "label": label, "classes": classes, "label_type": label_type,
                                "numbers": () if classes else numbers_in(cells[label])})  # fmt: skip


def other_than_binary(columns: Mapping[str, Sequence[str]], places: Sequence[str]) -> str:
    """The first cell that makes a column something other than 0 and 1, or true and false; empty if there is none.

    `places` are the places of the cells in words.
    """
    binary = {"0", "1"}
    wrong = (f"{name}: {_first(cells, places, lambda cell: cell not in binary)}" for name, cells in columns.items()
             if not (binary >= {*cells} or all(map(_is_truth, cells))))  # fmt: skip
    return next(wrong, "")


def other_than_numbers(columns: Mapping[str, Sequence[str]], places: Sequence[str]) -> str:
    """The first cell that makes a column something other than numbers, or true and false; empty if there is none.

    `places` are the places of the cells in words.
    """
    found = (f"{name}: {why.measured}" for name, cells in columns.items() if (why := _unusable(cells, places)))
    return next(found, "")


def _unusable(cells: Sequence[str], places: Sequence[str]) -> Unusable | None:
    """Why these cells can't be an input; None if they can."""
    held = [cell for cell in cells if not _is_missing(cell)]
    truths = sum(map(_is_truth, held))
    # In a column of only true and false, these are 1 and 0.
    wrong = [cell for cell in held if not _is_number(cell)] if truths < len(held) else []
    if wrong:
        odd = (lambda cell: not _is_missing(cell) and not _is_truth(cell)) if truths else wrong.__contains__
        return Unusable(reason="text", measured=_first(cells, places, odd),
                        grouped=not truths and all(map(_GROUPED.fullmatch, wrong)))  # fmt: skip
    if missing := len(cells) - len(held):
        return Unusable(reason="missing values", measured=_first(cells, places, _is_missing), missing=missing)
    return None


def _type(cells: Sequence[str]) -> str:
    if all(map(_is_truth, cells)):
        return "bool"
    return "int64" if all(map(_whole, cells)) else "float32"


def _is_truth(cell: str) -> bool:
    return cell.lower() in {"true", "false"}


def _first(cells: Sequence[str], places: Sequence[str], wrong: Callable[[str], bool]) -> str:
    """The first wrong cell of a column, and its place."""
    return next(f"{cell!r} in {place}" for cell, place in zip(cells, places, strict=True) if wrong(cell))


def _is_missing(cell: str) -> bool:
    return cell.lower() in _MISSING


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None and not (_whole(cell) and abs(int(cell)) >= _LARGEST)


def _whole(cell: str) -> bool:
    return cell.lstrip("+-").isdecimal()


def of_archive(file: Path, options: Options) -> Data:
    """Recognize the arrays of a `.npz` file."""
    return _of_named(file.parent, dict(arrays_in(file)), file.name, options)


def of_folder(folder: Path, options: Options) -> Data:
    """Recognize the arrays of the `.npy` files in a folder, or of its `.npz` files, one for each split."""
    if files := sorted(folder.glob("*.npy")):
        return _of_named(folder, {name: array for file in files for name, array in arrays_in(file)}, "*.npy", options)
    archives = sorted(folder.glob("*.npz"))
    if len(archives) == 1:
        return of_archive(archives[0], options)
    splits = file_splits(archives, "*.npz")
    if splits["kind"] == "hashed":
        raise DataError(
            "the folder contains several .npz files that are not splits",
            where="--data",
            bound="one .npz file, or train.npz and test.npz",
            measured=some_of(file.name for file in archives),
            remedy="choose one of them with --data",
        )
    training, *_ = splits["patterns"].values()
    return _of_arrays(folder, training, dict(arrays_in(folder / training)), splits, {}, options)


def _of_named(folder: Path, arrays: dict[str, Any], pattern: str, options: Options) -> Data:
    """Recognize arrays. The names of some arrays contain their split, such as `x_train` and `x_test`."""
    for training in TRAINING:
        for held_out in HELD_OUT:
            bases = {split: {name.removesuffix(f"_{split}") for name in arrays if name.endswith(f"_{split}")}
                     for split in (training, held_out)}  # fmt: skip
            base = bases[training] | bases[held_out]
            if not all(bases.values()):
                continue
            if lacking := [f"{name}_{split}" for split, own in bases.items() for name in sorted(base - own)]:
                raise DataError(
                    f"there is no array {some_of(lacking)}",
                    where=str(folder / pattern),
                    bound=f"the same arrays for {training} and for {held_out}",
                    measured=", ".join(arrays),
                    remedy="add it, or remove the arrays of this name",
                )
            names = {name: f"{name}_{{split}}" for name in sorted(base)}
            splits = {"kind": "declared", "patterns": {training: pattern, held_out: pattern}}
            chosen = {name: arrays[f"{name}_{training}"] for name in names}
            return _of_arrays(folder, pattern, chosen, splits, names, options)
    return _of_arrays(folder, pattern, arrays, {"kind": "hashed", "pattern": pattern}, {}, options)


def _of_arrays(
    folder: Path,
    place: str,
    arrays: dict[str, Any],
    splits: dict[str, Any],
    names: dict[str, str],
    options: Options,
) -> Data:
    """Recognize which array is the input, and which is the label. Raises a DataError if that is not clear."""
    (label, *others), inputs = chosen_columns(list(arrays), options, "there is no array")
    where = str(folder / place)
    check_lengths({name: arrays[name] for name in (*inputs, label, *others)}, where)
    if others:
        return _of_several(folder, arrays, (label, *others), inputs, splits, names, where)
    labels = class_numbers(arrays[label])
    _check_kinds({**{name: (arrays[name], "biuf") for name in inputs}, label: (labels, "biufSU")}, where)
    several = labels[:1].size != 1
    if not several:
        refuse_one_label(np.unique(labels).tolist(), label, where, len(labels))
    if several:
        numbers = labels.ndim == 2 and labels.dtype.kind in "biuf"
        refuse_labels("" if numbers else f"{label}: an array of {_size(labels)}", where)
    texts = labels.ravel().astype(str).tolist() if labels.dtype.kind in "US" else []
    return Data.model_validate(
        {"kind": "arrays", "folder": folder, "label": "" if several else label,
         "labels": {label: _stored(labels)} if several else {},
         "not_binary": f"{label}: an array of {_size(labels)}" if several and not np.isin(labels, (0, 1)).all() else "",
         "classes": tuple(sorted(set(texts))),
         "columns": {name: _stored(arrays[name]) for name in inputs},
         "numbers": () if several or texts else numbers_in(np.unique(labels).tolist()),
         "label_type": "float32" if np.issubdtype(labels.dtype, np.floating) else "int64",
         "splits": splits, "count": len(labels),
         "fields": {"names": {name: names.get(name, name) for name in (*inputs, label)}}
         if names or len(arrays) > 2 else {}}
    )  # fmt: skip


def _of_several(
    folder: Path,
    arrays: dict[str, Any],
    labels: Sequence[str],
    inputs: Sequence[str],
    splits: dict[str, Any],
    names: dict[str, str],
    where: str,
) -> Data:
    """Arrays of which several are labels, each of an output."""
    _check_kinds({name: (arrays[name], "biuf") for name in (*inputs, *labels)}, where)
    wide = next((name for name in labels if arrays[name].ndim > 2), None)
    refuse_labels("" if wide is None else f"{wide}: an array of {_size(arrays[wide])}", where)
    other = next(
        (name for name in labels if arrays[name][:1].size > 1 or not np.isin(arrays[name], (0, 1)).all()), None
    )
    return Data.model_validate(
        {"kind": "arrays", "folder": folder, "label": "", "labels": {name: _stored(arrays[name]) for name in labels},
         "not_binary": "" if other is None else f"{other}: an array of {_size(arrays[other])}",
         "columns": {name: _stored(arrays[name]) for name in inputs}, "splits": splits, "count": len(arrays[labels[0]]),
         "fields": {"names": {name: names.get(name, name) for name in (*inputs, *labels)}}}
    )  # fmt: skip


def _size(array: Any) -> str:
    return " x ".join(map(str, array.shape))


def _stored(array: Any) -> str:
    """The type of an array's values in examples."""
    if array.dtype == np.uint8 and array.ndim > 1:
        return "uint8"
    return "float32" if np.issubdtype(array.dtype, np.floating) else "int64"


def _check_kinds(arrays: Mapping[str, tuple[Any, str]], where: str) -> None:
    """Check the types of arrays, which have a character of NumPy (`dtype.kind`)."""
    if wrong := {name: array for name, (array, kinds) in arrays.items() if array.dtype.kind not in kinds}:
        raise DataError(
            f"arrays contain neither numbers nor labels: {some_of(wrong)}",
            where=where,
            bound="real numbers for the input; numbers or text for the label",
            measured=", ".join(f"{name}: {array.dtype}" for name, array in wrong.items()),
            remedy="save the array as numbers, such as `array.astype(np.float32)`",
        )
    if wrong := {name: array for name, (array, _) in arrays.items() if _not_finite(array)}:
        raise DataError(
            f"arrays contain values that are not finite: {some_of(wrong)}",
            where=where,
            measured=", ".join(f"{name}: {_not_finite(array)} of {array.size:,}" for name, array in wrong.items()),
            remedy="fill in these values, or remove their examples",
        )


def _not_finite(array: Any) -> int:
    return int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0
