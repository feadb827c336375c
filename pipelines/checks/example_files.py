"""Checks that example files are complete and have the columns in the pipeline file. Doesn't import TensorFlow."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

import google_crc32c

from components.core.errors import DataError, EdgemillError, counted, some_of, summary_line
from components.core.files import is_file, is_folder
from components.ingest.tables import TableReader, lines_of
from pipelines.file.spec import CsvExamples, HashedSplits, ParquetExamples, PipelineSpec

# Records of each uncompressed TFRecord file that are read and compared with their checksums, if they are within the
# first `_READ_BYTES`. More than the dry run decodes.
_FIRST_RECORDS, _READ_BYTES = 8, 16 << 20
# Compressed bytes, over all files, that are decompressed to find truncated files. This takes a second or two. Of the
# remaining files, only the first record is read; if one ends within a record, ExampleGen fails: "Not a valid TFRecord".
_GZIP_BUDGET = 64 << 20
# Files per pattern whose columns are read. This takes a second or two.
_MOST_FILES = 1000
# Bytes that identify files in formats other than TFRecord.
_SAMPLE_BYTES = 256
# Columns listed in an error, and the characters shown of each.
_MOST_NAMED, _MOST_SHOWN = 20, 40


def tfrecord_errors(files: Iterable[Path]) -> Iterator[EdgemillError]:
    """Yield errors in the first records of each file, and truncated ends."""
    unzip = _GZIP_BUDGET
    for file in files:
        with file.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        if zipped != (file.suffix == ".gz"):
            # Beam detects compression by the name.
            yield DataError(
                "the TFRecord file is gzipped, but its name does not end in .gz"
                if zipped
                else "the TFRecord file's name ends in .gz, but it is not gzipped",
                where=str(file),
                remedy="rename it: gzipped files end in .gz, others do not",
            )
        elif zipped:
            error, read = _gzip_error(file, unzip)
            unzip = max(0, unzip - read)
            yield from error
        else:
            yield from _plain_error(file)


def _plain_error(file: Path) -> Iterator[EdgemillError]:
    """Walk all frames (uint64 length, its CRC, the record, its CRC), and read the first records."""
    records, place, size = 0, 0, file.stat().st_size
    with file.open("rb", buffering=0) as raw:
        while place < size:
            header = os.pread(raw.fileno(), 12, place)
            place += int.from_bytes(header[:8], "little") + 16
            if not records and not _is_header(header):
                yield _not_tfrecord(file, os.pread(raw.fileno(), _SAMPLE_BYTES, 0))
                return
            if not _is_header(header) or place > size:
                yield _damaged(file, records)
                return
            if records < _FIRST_RECORDS and place <= _READ_BYTES:
                raw.seek(place - int.from_bytes(header[:8], "little") - 4)
                if not _is_record(raw, header):
                    yield _damaged(file, records)
                    return
            records += 1


def _is_header(header: bytes) -> bool:
    return len(header) == 12 and _masked(google_crc32c.value(header[:8])) == header[8:]


def _is_record(stream: IO[bytes] | gzip.GzipFile, header: bytes) -> bool:
    """Read the record after a header, and return whether its CRC matches."""
    left, found = int.from_bytes(header[:8], "little"), 0
    while left and (part := stream.read(min(left, 1 << 20))):
        found = google_crc32c.extend(found, part)
        left -= len(part)
    return not left and stream.read(4) == _masked(found)


def _masked(crc: int) -> bytes:
    """Mask a CRC-32C as in TFRecord files."""
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def _gzip_error(file: Path, budget: int) -> tuple[list[EdgemillError], int]:
    """Walk the frames of a gzipped file, at least the first, until `budget` compressed bytes are read.

    Returns the error, if there is one, and the number of compressed bytes read.
    """
    records = 0
    with file.open("rb") as raw:
        try:
            with gzip.open(raw) as stream:
                while header := stream.read(12):
                    if not records and not _is_header(header):
                        return [_not_tfrecord(file, header + stream.read(_SAMPLE_BYTES))], raw.tell()
                    if not _is_header(header) or not _is_record(stream, header):
                        return [_damaged(file, records)], raw.tell()
                    records += 1
                    if raw.tell() > budget:
                        break
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return [_damaged(file, records)], raw.tell()
        return [], raw.tell()


def _not_tfrecord(file: Path, content: bytes) -> DataError:
    """The error for a file whose first bytes are not the length of a record and its checksum."""
    kind = f"the bytes {content[:12].hex(' ')}"
    remedy = "copy or write the file again, or correct examples.kind"
    if content.startswith(b"PAR1"):
        kind, remedy = "a Parquet file", "write `kind: parquet` in examples, or correct the pattern"
    elif content.startswith(b"\x1f\x8b"):
        kind, remedy = "a gzipped file in a gzipped file", "unzip it once"
    elif _is_text(content):
        kind, remedy = "a text file", "write `kind: csv` in examples if it is a CSV file, or correct the pattern"
    return DataError(
        "this is not a TFRecord file, or its first bytes are damaged",
        where=str(file),
        bound="the length of the first record and its checksum",
        measured=kind,
        remedy=remedy,
    )


def _is_text(content: bytes) -> bool:
    # The sample can end inside a character.
    text = content.decode("utf-8", errors="ignore")
    return bool(text) and len(text.encode()) > len(content) - 4 and all(c.isprintable() or c in "\r\n\t" for c in text)


def _damaged(file: Path, records: int) -> DataError:
    return DataError(
        f"the TFRecord file is truncated or damaged after {counted(records, 'complete record')}",
        where=str(file),
        bound="complete records to the end of the file",
        measured=f"{file.stat().st_size} bytes",
        remedy="copy or write the file again",
    )


def column_errors(spec: PipelineSpec) -> Iterator[EdgemillError]:
    """Yield an error for each missing column, and for header lines that TFX refuses.

    TFRecord files have no header; the dry run decodes them.
    """
    examples = spec.examples
    if not isinstance(examples, CsvExamples | ParquetExamples) or "://" in examples.path:
        return
    reported: set[str] = set()
    for split, pattern in examples.patterns.items():
        columns: dict[Path, tuple[str, ...]] = {}
        for file in islice(_files(Path(examples.path), pattern), _MOST_FILES):
            try:
                columns[file] = _of_csv(file) if examples.kind == "csv" else _of_parquet(file)
            except DataError as error:
                yield error.placed(str(file))
                return
            except Exception as error:
                yield DataError(
                    f"the columns of this file cannot be read: {summary_line(error)}",
                    where=str(file),
                    bound=f"a {examples.kind} file",
                    remedy="write the file again, or correct the pattern",
                )
                return
        for column, field in _named(spec, split).items():
            lacking = [file for file, held in columns.items() if column not in held]
            if lacking and column not in reported:
                reported.add(column)
                yield _missing(column, field, lacking, columns[lacking[0]], len(columns), csv=examples.kind == "csv")
        if examples.kind == "csv" and not reported:
            yield from _different(columns, split or "all")


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the nonempty files that TFX reads. It skips hidden files."""
    if is_folder(folder):
        for file in sorted(folder.glob(pattern)):
            if is_file(file) and not file.name.startswith(".") and file.stat().st_size:
                yield file


def _named(spec: PipelineSpec, split: str | None) -> dict[str, str]:
    """Map the columns that a split must have to the fields that name them. The split None means all hashed splits."""
    columns = {spec.examples.label: "examples.label"} if spec.examples.label else {}
    if isinstance(spec.examples.splits, HashedSplits) and spec.examples.splits.feature:
        columns.setdefault(spec.examples.splits.feature, "examples.splits.feature")
    # A preprocessing function can create all other columns.
    if spec.preprocess is None:
        if split in {None, spec.evaluate.split}:
            own = {name for names in spec.evaluate.slices for name in names}
            for name in (name for names in spec.slices() for name in names):
                columns.setdefault(name, "evaluate.slices" if name in own else "gate.metrics")
            if spec.evaluate.group_by is not None:
                columns.setdefault(spec.evaluate.group_by, "evaluate.group_by")
        sample = spec.calibrate if any(recipe.needs_calibration for recipe in spec.recipes) else None
        if sample is not None and sample.stratify_by and split in {None, sample.split}:
            columns.setdefault(sample.stratify_by, "calibrate.stratify_by")
    return columns


def _of_csv(file: Path) -> tuple[str, ...]:
    with file.open("rb") as content:
        return TableReader(lines_of(content)).names


def _of_parquet(file: Path) -> tuple[str, ...]:
    import pyarrow.parquet

    return tuple(pyarrow.parquet.read_schema(file).names)


def _missing(
    column: str, field: str, lacking: Sequence[Path], held: Sequence[str], files: int, *, csv: bool
) -> DataError:
    near = next((name for name in held if name.strip("' ") == column), None)
    if near is not None:
        remedy = f"write {column} instead of {near!r} there: spaces and single quotes are part of the name"
    elif csv:
        remedy = f"correct {field}, or write the name into the header, the first line of each file"
    else:
        remedy = f"correct {field}, or write the files with this column"
    return DataError(
        f"the examples have no column {column!r}",
        where=field,
        bound=f"{column!r} in each {'header line' if csv else 'file'}",
        measured=f"{_shown(held)} in {lacking[0]}"
        + (f"; {len(lacking)} of {files} files lack it" if files > 1 else ""),
        remedy=remedy,
    )


def _different(columns: dict[Path, tuple[str, ...]], split: str) -> Iterator[DataError]:
    first = next(iter(columns), None)
    other = next((file for file, held in columns.items() if held != columns[first]), None) if first else None
    if first is not None and other is not None:
        yield DataError(
            f"CSV files of one split ({split}) have different header lines",
            where=str(other),
            bound=f"{_shown(columns[first])}, as in {first}",
            measured=_shown(columns[other]),
            remedy="write the same columns in the same order into each file, or narrow the pattern",
        )


def _shown(columns: Sequence[str]) -> str:
    return some_of((name[:_MOST_SHOWN] for name in columns), _MOST_NAMED)
