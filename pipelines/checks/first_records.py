"""Reads the first records of the example files as the tf.Examples that ExampleGen creates. Needs TensorFlow."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

from components.core.errors import DataError, summary_line
from pipelines.file.spec import DeclaredSplits, Examples

# Enough to find errors that all records share, and few enough for slow models.
_COUNT = 4
# Limit for a CSV row, and the bytes that are checked at the end of the file.
_MOST_BYTES, _TAIL_BYTES = 16 << 20, 64 << 10


def files_by_split(examples: Examples) -> Iterator[tuple[str | None, list[Path]]]:
    """Yield each declared split with its files; None with all files if splits are hashed."""
    splits = examples.splits
    patterns: Mapping[Any, str] = splits.patterns if isinstance(splits, DeclaredSplits) else {None: splits.pattern}
    for split, pattern in patterns.items():
        yield (
            split,
            sorted(file for file in Path(examples.path).glob(pattern) if file.is_file() and file.stat().st_size),
        )


def first_records(file: Path, kind: str, feature_spec: Mapping[str, Any]) -> list[bytes]:
    """Read a file's first records, serialized.

    Args:
        file: An example file.
        kind: `tfrecord`, `csv`, or `parquet`.
        feature_spec: The task's, which gives the types of CSV columns: the actual types are known only from all rows.

    Raises:
        DataError: The file can't be read.
    """
    try:
        if kind == "tfrecord":
            return _of_tfrecord(file)
        return _of_csv(file, feature_spec) if kind == "csv" else _of_parquet(file)
    except DataError as error:
        raise error.placed(str(file)) from error
    except Exception as error:
        raise DataError(
            f"the first records of this file cannot be read: {summary_line(error)}",
            where=str(file),
            bound=f"a {kind} file",
            remedy="write the file again, or correct the pattern",
        ) from error


def _of_tfrecord(file: Path) -> list[bytes]:
    import tensorflow as tf

    with file.open("rb") as content:
        compression = "GZIP" if content.read(2) == b"\x1f\x8b" else ""
    return [record.numpy() for record in tf.data.TFRecordDataset(str(file), compression_type=compression).take(_COUNT)]


def _of_parquet(file: Path) -> list[bytes]:
    import pyarrow.parquet

    from components.ingest.parquet import to_example

    with pyarrow.parquet.ParquetFile(file) as table:
        rows = [row for batch in islice(table.iter_batches(_COUNT), 1) for row in batch.to_pylist()]
    return [to_example(row).SerializeToString() for row in rows]


def _of_csv(file: Path, feature_spec: Mapping[str, Any]) -> list[bytes]:
    """Read a file as CsvExampleGen does: UTF-8, names in the first line, and one cell per name in each row."""
    import tensorflow as tf

    with file.open("rb") as content:
        names = content.readline(_MOST_BYTES).decode().strip().split(",")
        rows = list(islice(_csv_rows(content), _COUNT))
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise _ragged(f"row {number}", len(names), len(row))
    _check_last_row(file, len(names))
    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={name: _cell(text, feature_spec.get(name)) for name, text in zip(names, row, strict=True)}
            )
        ).SerializeToString()
        for row in rows
    ]


def _csv_rows(content: IO[bytes]) -> Iterator[list[str]]:
    """Yield the cells of each nonblank row. Within quotes, a row continues on the next line."""
    lines: list[str] = []
    quotes = size = 0
    while line := content.readline(_MOST_BYTES):
        lines.append(line.decode())
        quotes += line.count(b'"')
        size += len(line)
        if size >= _MOST_BYTES:
            raise ValueError(f"a row has more than {_MOST_BYTES:,} bytes")
        if quotes % 2 == 0:
            if row := next(csv.reader(["".join(lines)]), []):
                yield row
            lines.clear()
            quotes = size = 0
    if lines:
        raise ValueError("a quote is not closed")


def _check_last_row(file: Path, cells: int) -> None:
    """Check that a file doesn't end within a row. Near quotes, rows can't be distinguished from lines."""
    with file.open("rb") as content:
        begins = max(0, file.stat().st_size - _TAIL_BYTES)
        content.seek(begins)
        lines = content.read(_TAIL_BYTES).rstrip(b"\r\n").split(b"\n")
    whole = lines if begins == 0 else lines[1:]
    if whole and not any(b'"' in line for line in lines) and (found := whole[-1].count(b",") + 1) != cells:
        raise _ragged("the last row", cells, found)


def _ragged(row: str, cells: int, found: int) -> DataError:
    return DataError(
        f"{row} of the file is cut off, or has other columns than the first line names",
        bound=f"{cells} cells",
        measured=found,
        remedy="copy or write the file again; quote cells that contain commas",
    )


def _cell(text: str, declared: Any) -> Any:
    import tensorflow as tf

    if not text:
        return tf.train.Feature()
    dtype = getattr(declared, "dtype", tf.string)
    # A value of another type than declared keeps its own type, so that parsing reports it.
    if dtype.is_integer:
        with suppress(ValueError):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(text)]))
    if dtype.is_integer or dtype.is_floating:
        with suppress(ValueError):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[float(text)]))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
