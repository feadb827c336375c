"""What is known of examples and a model: what the user says, and what was found."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from components.core.errors import DataError, one_of, some_of
from components.core.values import FrozenModel

TRAINING = ("train", "training")
HELD_OUT = ("test", "testing", "val", "valid", "validation", "eval", "evaluation")
_LABELS = ("label", "labels", "class", "target", "y")


class Options(FrozenModel):
    """What the command line says of the data and the model. By default, it is found out.

    Attributes:
        label: Column or array of the label.
        columns: Columns or array of the input.
        classes: The classes in the order of the model's outputs.
        scale: Name of a range of the model's input (`edgemill.project.scales`).
        sample_rate: Samples per second of audio.
        input_shape: Shape of one example, for models with open dimensions.
        max_unreadable: Largest share of images or sounds that can be damaged.
    """

    label: str | None = None
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    scale: str | None = None
    sample_rate: int | None = None
    input_shape: tuple[int, ...] = ()
    max_unreadable: float = 0.0


class Data(FrozenModel):
    """What was found.

    Attributes:
        kind: Kind of the examples.
        folder: Folder of the files.
        label: Feature of the label.
        classes: Names of the classes, sorted; empty if labels are numbers.
        label_type: Type of the labels.
        columns: Feature of the input -> type of its values. Without images and audio.
        splits: The field `splits`.
        fields: Other fields of `examples` that don't depend on the model.
        count: Number of examples, or of files.
    """

    kind: Literal["images", "audio", "csv", "arrays"]
    folder: Path
    label: str = "label"
    classes: tuple[str, ...] = ()
    label_type: Literal["int64", "float32"] = "int64"
    columns: dict[str, Literal["uint8", "int64", "float32"]] = {}
    splits: dict[str, Any]
    fields: dict[str, Any] = {}
    count: int

    @property
    def evaluated(self) -> str:
        """The evaluation split."""
        names = self.splits.get("patterns", {"train": "", "eval": ""})
        return next(name for name in names if name not in TRAINING)


def pair_of(names: dict[str, str]) -> dict[str, str]:
    """The names of a split for training and of one to evaluate, of those that name something; empty without both."""
    training = next((name for name in TRAINING if name in names), None)
    held_out = next((name for name in HELD_OUT if name in names), None)
    return {training: names[training], held_out: names[held_out]} if training and held_out else {}


def file_splits(files: Sequence[Path], pattern: str) -> dict[str, Any]:
    """The field `splits` for files: one for each split, or all of a pattern."""
    pair = pair_of({file.stem.lower(): file.name for file in files})
    return {"kind": "declared", "patterns": pair} if pair else {"kind": "hashed", "pattern": pattern}


def read_table(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The names of the columns and the rows of a CSV table. Raises a DataError if it has no rows."""
    with table.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        rows = list(reader)
    if not rows:
        raise DataError("the table has no rows", where=str(table), remedy="write a header line and rows")
    return list(reader.fieldnames or ()), rows


def label_of(names: Sequence[str], options: Options) -> str:
    """The column or array of the label. Raises a DataError if it is not clear."""
    found = [options.label] if options.label else [name for name in names if name.lower() in _LABELS]
    if len(found) != 1 or found[0] not in names:
        raise DataError(
            f"there is no column or array {found[0]!r}" if len(found) == 1 else "it is not clear what the label is",
            where="--label",
            bound=one_of(names),
            measured=some_of(found) or None,
            remedy="name the column or array of the label with --label",
        )
    return found[0]
