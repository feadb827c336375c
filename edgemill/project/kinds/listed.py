"""Recognizes CSV tables that list images or sounds with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from components.core.errors import DataError, counted, one_of
from components.core.files import is_file
from components.data.ready_made import Stored
from components.ingest.listing import number
from edgemill.project.found import (
    Data,
    Options,
    chosen_columns,
    file_splits,
    read_table,
    refuse_labels,
    refuse_one_label,
)
from edgemill.project.kinds.columns import other_than_binary, other_than_numbers
from edgemill.project.kinds.sounds import audio_fields
from edgemill.project.numbered import numbers_in

SUFFIXES = {
    "images": frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}),
    "audio": frozenset({".wav"}),
}
_PATHS = ("path", "file", "filename", "file_name", "image", "audio")


def damage(options: Options) -> dict[str, Any]:
    """The field that bounds the share of damaged files, if the user chose a bound."""
    return {"max_unreadable": options.max_unreadable} if options.max_unreadable else {}


class _Table(NamedTuple):
    """A table of paths.

    Attributes:
        file: The table.
        names: Names of its columns.
        rows: Its rows.
        lines: The line on which each row ends.
        path_column: The column of the paths; None if none of the files exists.
    """

    file: Path
    names: list[str]
    rows: list[dict[str, str]]
    lines: list[int]
    path_column: str | None


def _table_of_paths(file: Path) -> _Table:
    names, rows, lines = read_table(file)
    columns = (name for name in names if name.lower() in _PATHS)
    found = next((name for name in columns if any(is_file(file.parent / row[name]) for row in rows)), None)
    return _Table(file, names, rows, lines, found)


def kind_of_paths(file: Path) -> Literal["images", "audio"] | None:
    """What a table lists, judging by the paths in it; None if it has no paths of images or sounds.

    Raises:
        DataError: It can't be read.
    """
    # Most tables are ruled out by their first line.
    with file.open("rb") as content:
        first = content.readline().lower()
    if not any(name.encode() in first for name in _PATHS):
        return None
    names, rows, _ = read_table(file)
    columns = [name for name in names if name.lower() in _PATHS]
    suffixes = {Path(row[name]).suffix.lower() for row in rows for name in columns}
    kinds: tuple[Literal["images", "audio"], ...] = ("images", "audio")
    return next((kind for kind in kinds if suffixes & SUFFIXES[kind]), None)


def media_table(path: Path, files: Sequence[Path], kind: Literal["images", "audio"], options: Options) -> Data:
    """Tables of paths and labels. Raises a DataError if none lists an existing file, or if one lacks cells."""
    tables = [_table_of_paths(file) for file in files]
    # Other tables can be about something else.
    listing = [each for each in tables if each.path_column is not None]
    names, first = tables[0].names, tables[0]
    columns = [name for name in names if name.lower() in _PATHS]
    if not listing:
        raise DataError(
            "none of the files in the table exist" if columns else "the table has no column of paths",
            where=str(first.file),
            bound=f"paths of files relative to {path}" if columns else f"a column {one_of(_PATHS)}",
            measured=repr(first.rows[0][columns[0]]) if columns else ", ".join(names),
            remedy="correct the paths" if columns else "rename the column of the paths to `path`",
        )
    names, path_column = listing[0].names, str(listing[0].path_column)
    where = ", ".join(str(each.file) for each in listing)
    chosen, _ = chosen_columns(names, options.model_copy(update={"columns": ()}))
    for each in listing:
        _check_columns(each, (path_column, *chosen))
    rows = [row for each in listing for row in each.rows]
    labels = [row[chosen[0]] for row in rows]
    several: dict[str, Stored] = {}
    not_binary = ""
    classes: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    if len(chosen) > 1:
        places = [
            f"line {line}" if len(listing) == 1 else f"line {line} of {each.file.name}"
            for each in listing
            for line in each.lines
        ]
        cells = {name: [row[name].strip() for row in rows] for name in chosen}
        refuse_labels(other_than_numbers(cells, places), where)
        not_binary = other_than_binary(cells, places)
        # The texts of numbers, of true, and of false become numbers in the task.
        several = dict.fromkeys(chosen, "bool")
    else:
        refuse_one_label(labels, chosen[0], where, len(rows))
        if any(number(text) is None for text in labels):
            classes = tuple(sorted(set(labels)))
        else:
            numbers = numbers_in(labels)
    fields: dict[str, Any] = {"layout": "table", "path_column": path_column, **damage(options)}
    if kind == "audio":
        fields |= audio_fields([path / row[path_column] for row in rows], options)
    return Data(
        kind=kind,
        folder=path,
        label="" if several else chosen[0],
        labels=several,
        not_binary=not_binary,
        classes=classes,
        numbers=numbers,
        label_type="int64" if classes else "float32",
        splits=file_splits([each.file for each in listing], listing[0].file.name if len(listing) == 1 else "*.csv"),
        fields=fields,
        count=len(rows),
    )


def _check_columns(table: _Table, wanted: Sequence[str]) -> None:
    """Check that a table has these columns, and that each row has a label."""
    if lacking := [name for name in wanted if name not in table.names]:
        raise DataError(
            "the tables have different columns",
            where=str(table.file),
            bound=", ".join(wanted),
            measured=", ".join(table.names),
            remedy=f"add the column {lacking[0]!r}, or name one table with --data",
        )
    for label in wanted[1:]:
        labels = [row[label] for row in table.rows]
        if "" in labels:
            missing = labels.count("")
            raise DataError(
                f"{counted(missing, 'row')} of the table {'lacks' if missing == 1 else 'lack'} a label",
                where=str(table.file),
                bound=f"a value in the column {label!r} of each of {counted(len(labels), 'row')}",
                measured=f"none in line {table.lines[labels.index('')]}",
                remedy="fill in the cell, or remove the row",
            )
