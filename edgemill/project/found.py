"""The known facts about examples and a model: the user's options, and the findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from components.core.errors import DataError, counted, one_of, some_of
from components.core.values import FrozenModel
from components.data.ready_made import Objective, Stored
from components.ingest.listing import number
from components.ingest.tables import TableReader, lines_of, with_names
from edgemill.project.lists import names_in, nearest, or_nearest
from edgemill.project.unclear import UnclearError
from edgemill.project.unusable import Unusable

TRAINING = ("train", "training")
HELD_OUT = ("test", "testing", "val", "valid", "validation", "eval", "evaluation", "dev")
# Kinds whose inputs are columns of numbers.
TABLES = frozenset({"csv", "parquet"})
# A decimal number or a date, which isn't the name of a column.
_CELL = re.compile(r"[+-]?\d*\.\d+|\d{4}-\d\d-\d\d([T ].*)?")
_LABELS = ("label", "labels", "class", "target", "y")


class Options(FrozenModel):
    """The options of the command line about the data and the model. By default, the values are detected.

    Attributes:
        label: Column or array of the label; or several columns, with commas.
        columns: Columns or array of the input.
        classes: The classes in the order of the model's outputs.
        scale: Name of a range of the model's input (`edgemill.project.scales`).
        sample_rate: Samples per second of audio.
        input_shape: Shape of one example, for models with open dimensions.
        max_unreadable: Largest share of images or sounds that can be damaged.
        objective: The objective of the model.
        max_loss: How much worse than the float model's metric a candidate can be.
    """

    label: str | None = None
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    scale: str | None = None
    sample_rate: int | None = None
    input_shape: tuple[int, ...] = ()
    max_unreadable: float = 0.0
    objective: Objective | None = None
    max_loss: float | None = None


class Data(FrozenModel):
    """The findings.

    Attributes:
        kind: Kind of the examples.
        folder: Folder of the files.
        label: Feature of the label; "" if each example can have several.
        labels: Features of several labels of an example, in their order -> type of their values.
        not_binary: A description of one of several labels that isn't 0 or 1: a class, or a number to predict.
        classes: Names of the classes, sorted; empty if labels are numbers.
        numbers: The different labels, sorted, if they are numbers and there are few enough for classes.
        label_type: Type of the labels.
        columns: Feature of the input -> type of its values. Without images and audio.
        unusable: Column that can't be an input -> the reason. Only matters if the model reads it.
        splits: The field `splits`.
        fields: Other fields of `examples` that don't depend on the model.
        scalars: Whether each feature that a generator yields for the input is one number, like a column of a table.
        count: Number of examples, or of files.
        warnings: What looks like a mistake, in sentences.
    """

    kind: Literal["images", "audio", "csv", "parquet", "arrays", "generator"]
    folder: Path
    label: str = "label"
    labels: dict[str, Stored] = {}
    not_binary: str = ""
    classes: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    label_type: Literal["int64", "float32"] = "int64"
    columns: dict[str, Stored] = {}
    unusable: dict[str, Unusable] = {}
    splits: dict[str, Any]
    fields: dict[str, Any] = {}
    scalars: bool = False
    count: int
    warnings: tuple[str, ...] = ()

    @property
    def is_table(self) -> bool:
        """Whether the features are columns of numbers."""
        return self.kind in TABLES or self.scalars

    @property
    def place(self) -> str:
        """The function, the files that `splits` names, or else their folder, in words."""
        if self.kind == "generator":
            return str(self.fields["function"])
        patterns = self.splits.get("patterns", {"all": self.splits.get("pattern", "*")})
        names = dict.fromkeys(patterns.values())
        return (
            str(self.folder)
            if any("*" in name for name in names)
            else ", ".join(str(self.folder / name) for name in names)
        )

    @property
    def evaluated(self) -> str:
        """The evaluation split."""
        names = self.splits.get("patterns", {"train": "", "eval": ""})
        return next(name for name in names if name not in TRAINING)


def pair_of(names: dict[str, str]) -> dict[str, str]:
    """Return the names of the splits for training and evaluation among the given names; empty if one is missing."""
    training = next((name for name in TRAINING if name in names), None)
    held_out = next((name for name in HELD_OUT if name in names), None)
    return {training: names[training], held_out: names[held_out]} if training and held_out else {}


def file_splits(files: Sequence[Path], pattern: str) -> dict[str, Any]:
    """The field `splits` for files: one for each split, or all of a pattern."""
    pair = pair_of({file.stem.lower(): file.name for file in files})
    return {"kind": "declared", "patterns": pair} if pair else {"kind": "hashed", "pattern": pattern}


def read_table(table: Path) -> tuple[list[str], list[dict[str, str]], list[int]]:
    """The names of the columns and the rows of a CSV table, and the number of the line on which each row ends.

    Raises:
        DataError: It has no rows, or rows of other lengths; names of columns are missing, or occur twice; or it isn't
            a CSV table in UTF-8.
    """
    try:
        with table.open("rb") as content:
            reader = TableReader(lines_of(content))
            names = list(reader.names)
            _check_names(names)
            numbered = [(row, reader.line) for row in with_names(reader)]
    except DataError as error:
        raise error.placed(str(table)) from error
    if not numbered:
        raise DataError("the table has no rows", where=str(table), remedy="write a header line and rows")
    return names, [row for row, _ in numbered], [line for _, line in numbered]


def _check_names(names: Sequence[str]) -> None:
    line = ",".join(names)
    if "" in names:
        raise DataError(
            f"column {names.index('') + 1} of the table has no name",
            measured=repr(line),
            remedy="name it in the first line, or delete the column",
        )
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(
            f"the table has several columns with the name {some_of(map(repr, repeated))}",
            measured=repr(line),
            remedy="give each column its own name",
        )
    if spaced := [name for name in names if name != name.strip()]:
        raise DataError(
            f"names of columns begin or end with a space: {some_of(map(repr, spaced))}",
            remedy="remove the spaces around commas in all lines",
        )
    # Whole numbers, such as years, can also be names of columns.
    if names and (all(number(name) is not None for name in names) or any(map(_CELL.fullmatch, names))):
        raise DataError(
            "the table has no header line",
            bound="names of columns",
            measured=repr(line),
            remedy="add a first line with a name for each column",
        )


def label_of(names: Sequence[str], options: Options) -> str:
    """The column or array of the label. Raises an UnclearError if it is not clear."""
    found = [options.label] if options.label else [name for name in names if name.lower() in _LABELS]
    if len(found) != 1 or found[0] not in names:
        near = nearest(found[0], names) if len(found) == 1 else next(iter(found), None)
        otherwise = (
            "specify the column or array of the label with --label; for a model with several outputs, specify one for "
            "each, separated by commas"
        )
        raise UnclearError(
            f"there is no column or array {found[0]!r}" if len(found) == 1 else "it is not clear what the label is",
            option="label",
            question="Which one is the label?",
            names=() if options.label else tuple(names),
            default=near or names[-1],
            bound=one_of(names),
            measured=some_of(found) or None,
            remedy=or_nearest(found[0], names, otherwise) if len(found) == 1 else otherwise,
        )
    return found[0]


def chosen_columns(
    names: Sequence[str], options: Options, missing: str = "the table has no column"
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of the label, and those of the input. An UnclearError starts with `missing`."""
    given = options.label or ""
    parts = names_in(given) or (given,) if given not in names else (given,)
    labels = tuple(label_of(names, options.model_copy(update={"label": part or None})) for part in dict.fromkeys(parts))
    columns = options.columns or tuple(name for name in names if name not in labels)
    if unknown := [name for name in columns if name not in names]:
        raise UnclearError(
            f"{missing} {some_of(map(repr, unknown))}",
            option="columns",
            question="Which ones are the input, in order?",
            bound=one_of(name for name in names if name not in labels),
            remedy=or_nearest(unknown[0], [name for name in names if name not in labels], "correct the name"),
        )
    return labels, columns


def refuse_one_label(held: Iterable[object], label: str, where: str, count: int) -> None:
    """Raise the DataError for examples that all have the same label.

    Args:
        held: The labels that occur, each at least once.
        label: Their column, array, or feature.
        where: The files.
        count: Number of examples.
    """
    found = {str(each) for each in held}
    if len(found) != 1:
        return
    if count == 1:
        raise DataError(
            "there is only one example",
            where=where,
            bound="examples of at least two classes, and several hundred for meaningful figures",
            measured=f"{label}: {next(iter(found))}",
            remedy="add examples",
        )
    raise DataError(
        "all examples have the same label",
        where=where,
        bound="at least two classes, or different values",
        measured=f"{label}: {next(iter(found))} in each of {counted(count, 'example')}",
        remedy="add examples of the other classes, or choose another label with --label",
    )


def refuse_labels(found: str, where: str) -> None:
    """Raise the DataError for several labels if some are neither numbers nor true and false.

    Args:
        found: A description of the first one; empty if there are none.
        where: The files.
    """
    if found:
        raise DataError(
            "the labels have several values for each example, and not all are numbers in a list",
            where=where,
            bound="one number or text for each example, or a list of as many numbers as the model returns",
            measured=found,
            remedy="choose another label with --label, or write a pipeline file and a task with `targets`: see "
            "docs/outputs.md",
        )
