"""Lists image and audio files with their labels, and checks folders and tables. Opens no images or audio."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from components.core.errors import DataError, counted, one_of, some_of
from components.core.files import is_file
from components.ingest.sources import matching
from components.ingest.tables import TableReader, lines_of, with_names
from components.spec.examples import AudioSource, ImageSource, Source

# Files that operating systems write into folders, besides hidden ones.
_OF_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})
# Suffixes of notes and annotations next to images and sounds. Files with other suffixes are examples, even if they are
# damaged.
_NOTES = frozenset({".csv", ".htm", ".html", ".json", ".md", ".pdf", ".txt", ".xml", ".yaml", ".yml"})


_FEWEST_CLASSES = 2


class Item(NamedTuple):
    """A file of one example.

    Attributes:
        file: The file.
        label: The name of its class, or a number as text; "" if examples have no label.
        columns: The other columns of its row in a table.
    """

    file: Path
    label: str
    columns: Mapping[str, str]


def files_of(source: Source, folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files that examples are made from, sorted by name: those that match the patterns, and those in tables.

    Raises:
        DataError: A table can't be read.
    """
    if not isinstance(source, ImageSource | AudioSource):
        return sorted({file for file in matching(folder, patterns) if not is_hidden(file)})
    found = _listed(source, folder, patterns)
    if source.layout == "table":
        found += [folder / path for table in found for _, path, _ in _rows(table, source.path_column)]
    return sorted(set(found))


def _listed(source: ImageSource | AudioSource, folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files of examples in class folders, or the tables."""
    none = _NOTES if source.layout == "folders" else frozenset()
    found = (file for file in matching(folder, patterns) if not is_hidden(file))
    return [file for file in found if file.suffix.lower() not in none]


def is_hidden(file: Path) -> bool:
    """Whether the file isn't the user's: hidden, or written by an operating system."""
    return file.name.startswith(".") or file.name.lower() in _OF_SYSTEMS


def items(source: ImageSource | AudioSource, label: str, folder: Path, pattern: str) -> list[Item]:
    """The files of a split, sorted by name, or in the order of the tables.

    Args:
        source: The source.
        label: Column of the label in tables; "" if examples have no label.
        folder, pattern: Where the files or tables are.

    Raises:
        DataError: A table can't be read, or lacks a column, a cell, or a file.
    """
    files = _listed(source, folder, [pattern])
    if source.layout == "folders":
        return [Item(file, file.parent.name if label else "", {}) for file in files]
    found: list[Item] = []
    for table in files:
        named = [label] if label else []
        rows = list(_rows(table, source.path_column, *named))
        if missing := [path for _, path, _ in rows if not is_file(folder / path)]:
            raise DataError(
                f"files of the table do not exist: {some_of(str(path.relative_to(table.parent)) for path in missing)}",
                where=str(table),
                bound=f"the path of a file in each row, relative to {table.parent}",
                measured=f"{len(missing)} of {counted(len(rows), 'row')} without a file",
                remedy="correct the paths, or remove the rows",
            )
        found += [
            Item(path, row[label] if label else "", _others(row, source.path_column, label)) for _, path, row in rows
        ]
    return found


def _others(row: Mapping[str, str], *without: str) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in without}


def _rows(table: Path, path_column: str, *columns: str) -> Iterator[tuple[int, Path, dict[str, str]]]:
    """Yield the line number, the path, and the cells of each row."""
    wanted = (path_column, *columns)
    try:
        with table.open("rb") as content:
            reader = TableReader(lines_of(content))
            names = reader.names
            if lacking := [name for name in wanted if name not in names]:
                raise DataError(
                    f"the table has no column {lacking[0]!r}",
                    bound=", ".join(map(repr, wanted)),
                    measured=some_of(names, 20) or "an empty file",
                    remedy="correct examples.label or examples.path_column, or the first line of the table",
                )
            for row in with_names(reader):
                if empty := [name for name in wanted if not row[name]]:
                    raise DataError(
                        f"the table has a row without {empty[0]!r}",
                        where=f"line {reader.line}",
                        remedy="fill in the cell, or remove the row",
                    )
                yield reader.line, table.parent / row[path_column], row
    except DataError as error:
        raise error.placed(str(table)) from error


def label_errors(source: ImageSource | AudioSource, splits: Mapping[str, Sequence[Item]]) -> Iterator[DataError]:
    """Yield the errors in the labels of all splits: classes that are missing, empty, or unknown.

    Args:
        source: The source.
        splits: Name of a split -> its files.
    """
    counts = Counter(item.label for found in splits.values() for item in found)
    folders = source.layout == "folders"
    if folders and len(counts) == 1:
        yield DataError(
            "all files are in one class folder, so there are no classes to distinguish",
            where="examples.path",
            bound="one folder for each class, with at least two classes",
            measured=f"{next(iter(counts))}: {counted(counts.total(), 'file')}",
            remedy="add the folders of the other classes, or specify the folder above this one",
        )
    elif source.classes is None:
        if folders:
            yield DataError(
                "the classes of the folders are not declared",
                where="examples.classes",
                bound="the names of the folders, in the order of the model's outputs",
                measured=f"the folders {some_of(sorted(counts))}",
                remedy=f"write `classes: [{', '.join(map(repr, sorted(counts)))}]`, in the order of your model",
            )
        elif wrong := sorted(label for label in counts if number(label) is None):
            yield DataError(
                f"labels are not numbers: {some_of(map(repr, wrong))}",
                where="examples.classes",
                bound="numbers, or `classes` that names the classes",
                measured=f"{counted(len(wrong), 'label')} of {len(counts)}",
                remedy="list the classes in examples.classes, in the order of your model, or correct the table",
            )
    else:
        named = Counter[str]()
        for label, count in counts.items():
            named[class_name(label, source.classes)] += count
        counts = named
        if unknown := sorted(counts.keys() - set(source.classes)):
            yield DataError(
                f"the examples have classes that are not declared: {some_of(unknown)}",
                where="examples.classes",
                bound=one_of(source.classes[:20]) + (", ..." if len(source.classes) > 20 else ""),
                measured=f"{sum(counts[name] for name in unknown)} of {counts.total()} files in other classes",
                remedy="add them to the classes, or narrow the pattern",
            )
        empty = [name for name in source.classes if not counts[name]]
        # The model can know more classes than these examples have.
        if empty and (unknown or len(counts) < _FEWEST_CLASSES):
            yield DataError(
                f"classes have no examples: {some_of(empty)}",
                where="examples.classes",
                bound="at least one example of each class",
                measured=f"{len(source.classes) - len(empty)} of {counted(len(source.classes), 'class')[:-1]}es",
                remedy="add examples, or remove the classes that the model does not know",
            )


def number(label: str) -> float | None:
    """The number that a label is written as; None if it isn't one."""
    try:
        return float(label)
    except ValueError:
        return None


def class_name(label: object, classes: Sequence[str]) -> str:
    """The name of the class that a label stands for, or the label as text if there is none."""
    name = label.decode() if isinstance(label, bytes) else str(int(label) if isinstance(label, bool) else label)
    found = None if name in classes else number(name)
    if found is None or not math.isfinite(found):
        return name
    return next((each for each in classes if number(each) == found), name)


def class_number(label: object, classes: Sequence[str], where: str) -> int:
    """The number of a class. Labels that are numbers can be written differently, such as -1.0 for the class `-1`.

    Raises:
        DataError: There is no such class.
    """
    name = class_name(label, classes)
    if name not in classes:
        raise DataError(
            "an example has a class that is not declared",
            where=where,
            bound=one_of(classes[:20]) + (", ..." if len(classes) > 20 else ""),
            measured=repr(name),
            remedy="add it to examples.classes, or correct the data",
        )
    return list(classes).index(name)
