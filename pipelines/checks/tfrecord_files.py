"""Checks that TFRecord files are complete, without TensorFlow."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import google_crc32c

from components.core.errors import DataError, EdgemillError

# Records of each uncompressed TFRecord file that are read and compared with their checksums, if they are within the
# first `_READ_BYTES`. More than the dry run decodes.
_FIRST_RECORDS, _READ_BYTES = 8, 16 << 20


# Compressed bytes, over all files, that are decompressed to find truncated files. This takes a second or two. Of the
# remaining files, only the first record is read; if one ends within a record, ExampleGen fails: "Not a valid TFRecord".
_GZIP_BUDGET = 64 << 20


def tfrecord_errors(files: Iterable[Path]) -> Iterator[EdgemillError]:
    """Yield errors in the first records of each file, and truncated ends."""
    unzip = _GZIP_BUDGET
    for file in files:
        with file.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        if zipped != (file.suffix == ".gz"):
            # Beam decides by the name.
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

    Returns:
        The error, if there is one, and the number of compressed bytes read.
    """
    records = 0
    with file.open("rb") as raw:
        try:
            with gzip.open(raw) as stream:
                while header := stream.read(12):
                    if not _is_header(header) or not _is_record(stream, header):
                        return [_damaged(file, records)], raw.tell()
                    records += 1
                    if raw.tell() > budget:
                        break
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return [_damaged(file, records)], raw.tell()
        return [], raw.tell()


def _damaged(file: Path, records: int) -> DataError:
    return DataError(
        f"the TFRecord file is truncated or damaged after {records} complete records",
        where=str(file),
        bound="complete records to the end of the file",
        measured=f"{file.stat().st_size} bytes",
        remedy="copy or write the file again",
    )
