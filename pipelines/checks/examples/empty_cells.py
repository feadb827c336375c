"""Finds empty cells of CSV files in the columns that a task needs."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from components.core.errors import DataError, counted, some_of

# Bytes, over all files, that are read before a run. This takes a second or two. The validation of the run covers the
# rest: it refuses missing values too, but doesn't name the rows.
_MOST_BYTES = 64 << 20


def check_cells(files: Iterable[Path], required: Collection[str]) -> None:
    """Check that no row has an empty cell in a column that every example needs.

    Raises:
        DataError: There are such cells. The error counts them for each column.
    """
    left = _MOST_BYTES
    for file in files:
        empty: dict[str, list[int]] = {}
        rows = 0
        with file.open(encoding="utf-8", errors="replace", newline="") as lines:
            reader = csv.DictReader(lines)
            # Damaged files are reported when their first records are read.
            with suppress(csv.Error):
                for row in reader:
                    rows += 1
                    left -= sum(len(cell) for cell in row.values() if isinstance(cell, str)) + len(row)
                    for column in required:
                        if row.get(column, "x") == "":
                            empty.setdefault(column, []).append(reader.line_num)
                    if left < 0:
                        break
        if empty:
            raise DataError(
                f"columns have empty cells: {some_of(sorted(empty))}",
                where=str(file),
                bound="a value in each row, because the task's feature_spec declares no default",
                measured="; ".join(
                    f"{column}: {len(found)} of {counted(rows, 'row')}, in lines {some_of(map(str, found))}"
                    for column, found in sorted(empty.items())
                ),
                remedy="fill in the cells, remove the rows, or declare a `default_value` for the feature",
            )
        if left < 0:
            return
