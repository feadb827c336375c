"""Reads examples from NumPy arrays and from functions, as rows of features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, EdgemillError, SpecError, counted, one_of, some_of, summary_line
from components.core.user_code import exits_reported, raised_at
from components.data.objects import load_object
from components.spec.examples import ArraySource, GeneratorSource

Array = npt.NDArray[Any]


def open_arrays(source: ArraySource, files: Sequence[Path], split: str, label: str) -> dict[str, Array]:
    """The arrays of a split as features, name -> array [N, ...]. Arrays of `.npy` files are mapped, not read.

    Raises:
        DataError: A file can't be read, or an array is missing, repeated, or of a different length than the others.
    """
    found: dict[str, Array] = {}
    for file in files:
        for name, array in arrays_in(file):
            if name in found:
                raise DataError(
                    f"two files contain an array {name!r}", where=str(file), remedy="narrow the pattern of the split"
                )
            found[name] = array
    wanted = {feature: name.replace("{split}", split) for feature, name in source.names.items()}
    if lacking := sorted(set(wanted.values()) - found.keys()):
        raise DataError(
            f"there is no array {some_of(lacking)}",
            where="examples.names",
            bound=one_of(sorted(found)) or "files with arrays",
            remedy="correct the name, or the pattern of the split",
        )
    arrays = {feature: found[name] for feature, name in wanted.items()} or found
    if label and label not in arrays:
        raise DataError(
            f"there is no array for the label {label!r}",
            where="examples.label",
            bound=one_of(sorted(arrays)),
            remedy="specify the array of the labels, or map it in examples.names",
        )
    check_lengths(arrays, ", ".join(map(str, files)))
    return {name: class_numbers(array) if name == label else array for name, array in arrays.items()}


def check_lengths(arrays: Mapping[str, Array], where: str) -> None:
    """Check that arrays have one row for each example. Raises a DataError if they don't."""
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len({*lengths.values()}) > 1 or not all(lengths.values()):
        raise DataError(
            "the arrays do not have one row for each example",
            where=where,
            bound="the same first dimension, at least 1",
            measured=", ".join(f"{name}: {list(array.shape)}" for name, array in sorted(arrays.items())),
            remedy="correct the arrays, or choose those that belong together in examples.names",
        )


def class_numbers(labels: Array) -> Array:
    """One-hot labels [N, classes] as numbers of classes [N]. Other labels stay as they are."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "biuf":
        return labels
    one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
    return labels.argmax(axis=1) if one_hot else labels


def arrays_in(file: Path) -> Iterator[tuple[str, Array]]:
    """Yield the name and the content of each array of a `.npy` file, which is mapped, or of a `.npz` file.

    Raises:
        DataError: The file is damaged, or contains Python objects.
    """
    try:
        if file.suffix == ".npy":
            yield file.stem, np.load(file, mmap_mode="r", allow_pickle=False)
            return
        with np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                yield name, archive[name]
    # Damaged headers and archives raise many kinds of errors.
    except Exception as error:
        # NumPy executes code when it loads objects, so they are refused.
        objects = "Object arrays" in str(error) or "Python objects" in str(error)
        raise DataError(
            "the file contains arrays of Python objects" if objects else "the file is not a NumPy file, or is damaged",
            where=str(file),
            bound="a .npy or .npz file with arrays of numbers or text",
            measured=summary_line(error),
            remedy="save numbers, or text as `array.astype(str)`"
            if objects
            else "save it again, or correct the pattern",
        ) from error


def rows_of(arrays: Mapping[str, Array]) -> Iterator[dict[str, Any]]:
    """Yield one row of features for each example."""
    count = len(next(iter(arrays.values())))
    for index in range(count):
        yield {name: feature(array[index]) for name, array in arrays.items()}


def feature(value: Any) -> Any:
    """The value of a feature as `to_example` takes it: bytes for uint8 arrays, otherwise flat numbers or text."""
    if isinstance(value, list | tuple):
        value = np.asarray(value)  # Mixed integers and floats are floats.
    if isinstance(value, np.ndarray) and value.ndim:
        return np.ascontiguousarray(value).tobytes() if value.dtype == np.uint8 else value.ravel().tolist()
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def _kind(value: Any) -> str:
    """A description of the type of a feature's values; empty if there are none."""
    first = (value[0] if value else None) if isinstance(value, list) else value
    named = {bool: "integers", int: "integers", float: "floats", str: "text", bytes: "bytes", type(None): ""}
    return named.get(type(first), type(first).__name__)


def generated(source: GeneratorSource, split: str | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of the user's function, for a split if it isn't None.

    Raises:
        SpecError: The function can't be imported or called.
        DataError: It fails after some rows, yields something other than dictionaries with the same features, or yields
            more than `limit` of them.
    """
    function = load_object(source.function, "examples.function")
    count, kinds = 0, dict[str, str]()
    of_split = f" of the split {split!r}" if split else ""
    try:
        with exits_reported("examples.function"):
            rows = iter(function() if split is None else function(split))
    except EdgemillError:
        raise
    except Exception as error:
        raise SpecError(
            f"the function does not return examples: {type(error).__name__}: {summary_line(error)}",
            where="examples.function",
            bound="a function without arguments" if split is None else "a function that takes the name of a split",
            measured=raised_at(error),
            remedy="make it a generator that yields dictionaries",
        ) from error
    while True:
        try:
            with exits_reported("examples.function"):
                row = next(rows)
        except StopIteration:
            break
        except EdgemillError:
            raise
        except Exception as error:
            raise DataError(
                f"the function fails: {type(error).__name__}: {summary_line(error)}",
                where="examples.function",
                bound="a generator that ends without an error",
                measured=", ".join(
                    filter(None, [f"an error after {counted(count, 'example')}{of_split}", raised_at(error)])
                ),
                remedy="correct the function",
            ) from error
        if (
            not isinstance(row, dict)
            or not all(isinstance(name, str) for name in row)
            or row.keys() != (kinds or row).keys()
        ):
            raise DataError(
                "the function yields something other than dictionaries with the same keys",
                where="examples.function",
                bound=", ".join(sorted(kinds)) if kinds else "dictionaries with names of features",
                measured=f"{some_of(map(repr, row)) if isinstance(row, dict) else type(row).__name__} "
                f"after {counted(count, 'example')}",
                remedy="yield each feature of each example"
                if isinstance(row, dict)
                else "yield a dictionary for each example, such as {'x': x, 'label': label}",
            )
        if count == source.limit:
            raise DataError(
                "the function yields more examples than the limit",
                where="examples.function",
                bound=f"at most {source.limit:,} (examples.limit)",
                remedy="stop the function earlier, or raise examples.limit",
            )
        made = {name: feature(value) for name, value in row.items()}
        for name, value in made.items():
            kind = _kind(value)
            if kinds.setdefault(name, kind) == "":
                kinds[name] = kind
            if kind not in {"", kinds[name]}:
                raise DataError(
                    f"the function changes the type of the feature {name!r}",
                    where="examples.function",
                    bound=f"{kinds[name]}, as in the examples before",
                    measured=f"{kind} after {counted(count, 'example')}: {value!r:.60}",
                    remedy=f"yield one type, such as `float(row[{name!r}])`",
                )
        yield made
        count += 1
    if not count:
        raise DataError(
            "the function yields no examples",
            where="examples.function",
            measured=f"none for {split!r}" if split else None,
            remedy="yield one dictionary for each example",
        )
