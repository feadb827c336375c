"""CSV tables as spreadsheets and libraries write them. Imports neither TensorFlow nor Beam."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import IO

from components.core.errors import DataError, counted

# Maximum size of one row. Otherwise, a quote that is never closed would extend a row to the end of the file.
_MOST_BYTES = 16 << 20
_MARK = "\ufeff"
_SEPARATORS = (",", ";", "\t", "|")
# A first line that Excel writes and reads, and that isn't a header.
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*")
# Spreadsheets write numbers in this way if they separate columns with something other than a comma.
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_SAVE = (
    "save it in UTF-8: in Excel, File > Save As > `CSV UTF-8 (Comma delimited)`; in LibreOffice, File > Save As > "
    "`Text CSV` with the character set Unicode (UTF-8); in Google Sheets, File > Download > `Comma Separated Values`"
)


class TableReader:
    """Reads a CSV table row by row.

    The table is UTF-8 with or without a byte order mark. Columns are separated by commas, semicolons, tabs, or bars;
    unless commas separate them, numbers can have decimal commas, which become points. Cells and names can be quoted,
    and quoted cells can contain line breaks. Blank rows are left out. So are a first column without a name, which
    numbers the rows, and empty columns without names at the end.

    Attributes:
        names: Names of the columns.
        separator: The separator of columns.
        width: Number of cells of each row, including those that are left out.
        line: Number of the line on which the last row ended.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        """Read the first line.

        Args:
            lines: The lines of the file with their ends, such as a file that is opened in binary mode.

        Raises:
            DataError: This is not a CSV table.
        """
        self.line = 0
        self._lines = iter(lines)
        first = self._record().removeprefix(_MARK)
        given = _SEPARATOR_LINE.fullmatch(first)
        if given:
            first = self._record()
        header_line = self.line
        second = self._record() if first else ""
        self.separator = given[1] if given else _separator(first, second)
        header = self._cells(first, header_line)
        # Numbers of rows, as pandas and R write them.
        self._begin = 1 if len(header) > 1 and not header[0] else 0
        self._end = len(header)
        while self._end > self._begin and not header[self._end - 1]:
            self._end -= 1
        self.width = len(header)
        self.names = tuple(header[self._begin : self._end])
        self._pending: list[tuple[str, int]] = [(second, self.line)] if second else []
        self.line = header_line

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the cells of each row, in the order of the names.

        Raises:
            DataError: A row has more or fewer cells than the first line, or can't be read.
        """
        while record := self._next():
            row = self._cells(record, self.line)
            if not any(row):
                continue
            if len(row) == self.width and any(row[self._end :]):
                place = next(place for place in range(self._end, self.width) if row[place])
                raise DataError(
                    f"column {place + 1} of the table has no name",
                    where=f"line {self.line}",
                    measured=repr(row[place]),
                    remedy="name it in the first line, or clear its cells",
                )
            if len(row) != self.width:
                raise DataError(
                    "a row has more or fewer cells than the first line",
                    where=f"line {self.line}",
                    bound=counted(self.width, "cell"),
                    measured=counted(len(row), "cell"),
                    remedy="quote cells that contain the column separator, or correct the row",
                )
            yield row[self._begin : self._end]

    def _next(self) -> str:
        if self._pending:
            record, self.line = self._pending.pop()
            return record
        return self._record()

    def _cells(self, record: str, line: int) -> list[str]:
        try:
            row = next(csv.reader([record], delimiter=self.separator, strict=False), [])
        except csv.Error as error:
            if len(record) > (most := csv.field_size_limit()):
                raise DataError(
                    f"a cell has more than {most:,} characters",
                    where=f"line {line}",
                    remedy="write shorter cells, or close the quote that began the cell",
                ) from error
            raise _unreadable(error, line) from error
        if self.separator == ",":
            return row
        return [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in row]

    def _record(self) -> str:
        """The next nonblank row as text; empty at the end. Within quotes, a row continues on the next line."""
        parts: list[bytes] = []
        quotes = size = 0
        for line in self._lines:
            self.line += 1
            parts.append(line)
            quotes += line.count(b'"')
            size += len(line)
            if size >= _MOST_BYTES:
                raise DataError(
                    f"a row has more than {_MOST_BYTES:,} bytes",
                    where=f"line {self.line}",
                    remedy="write shorter rows, or close the quote that began the row",
                )
            if quotes % 2 == 0:
                if line.strip():
                    break
                parts.clear()
        if quotes % 2:
            raise DataError(
                "a quote is not closed",
                where=f"line {self.line - len(parts) + 1}",
                remedy="close it, or write quotes within a cell twice",
            )
        try:
            text = b"".join(parts).decode()
        except UnicodeDecodeError as error:
            raise _unreadable(error, self.line) from error
        return text if text.strip() else ""


def lines_of(content: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, no longer than a row can be, so that a file without line breaks isn't read completely."""
    return iter(partial(content.readline, _MOST_BYTES), b"")


def _separator(first: str, second: str) -> str:
    """The separator of columns: it divides the first two rows into the same number of cells, and into the most cells.

    If there are several, it is the comma, then the semicolon, then the tab. Bars are also common within cells.
    """
    counts: dict[str, Sequence[int]] = {}
    for separator in _SEPARATORS:
        try:
            counts[separator] = [len(row) for row in csv.reader([first, second], delimiter=separator)]
        except csv.Error:
            return ","  # `csv.reader` reports it.
    cells = {each: found for each, (found, *others) in counts.items() if found > 1 and {*others} <= {found}}
    usual = {each: found for each, found in cells.items() if each != "|"} or cells
    return max(usual, key=lambda each: usual[each], default=",")


def _unreadable(error: Exception, line: int) -> DataError:
    return DataError("this is not a CSV table in UTF-8", where=f"line {line}", measured=error, remedy=_SAVE)


def with_names(reader: TableReader) -> Iterator[dict[str, str]]:
    """The rows of a table as name -> cell."""
    for row in reader:
        yield dict(zip(reader.names, row, strict=True))
