"""Finds empty cells of CSV files in the columns that a task needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from components.core.errors import DataError, counted, some_of
from components.ingest.tables import TableReader, lines_of, with_names

# Bytes, over all files, that are read before a run. This takes a second or two. The validation of the run covers the
# rest: it also refuses missing values, but doesn't name the rows.
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
        # Damaged files are reported when their first records are read.
        with file.open("rb") as content, suppress(DataError):
            reader = TableReader(lines_of(content))
            for row in with_names(reader):
                rows += 1
                left -= sum(map(len, row.values())) + len(row)
                for column in required:
                    if row.get(column, "x") == "":
                        empty.setdefault(column, []).append(reader.line)
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
