"""Whether TFRecord files are whole, from their bytes alone: no TensorFlow."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import google_crc32c

from components.core.errors import DataError, EdgemillError

# Of each TFRecord file that is not gzipped, so many records are read and compared with their checksums, as far as they
# lie in the first bytes. More than the deep check decodes.
_FIRST_RECORDS, _READ_BYTES = 8, 16 << 20


# Compressed bytes, over all files, that are unpacked to find truncated ones: a second or two. Of what is beyond, only
# each file's first record is read; if such a file ends within a record, ExampleGen fails: "Not a valid TFRecord".
_GZIP_BUDGET = 64 << 20


def tfrecord_errors(files: Iterable[Path]) -> Iterator[EdgemillError]:
    """What is wrong with the first records of each file, and with the ends of gzipped ones."""
    unzip = _GZIP_BUDGET
    for file in files:
        with file.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        if zipped != (file.suffix == ".gz"):
            # Beam goes by the name.
            yield DataError(
                "the TFRecord file is gzipped, and its name does not say so"
                if zipped
                else "the TFRecord file is called .gz, and is not gzipped",
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
    """Walk from frame to frame (uint64 length, its CRC, the record, its CRC); of the records, the first are read."""
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
    """Read the record that a header announces, and its CRC."""
    left, found = int.from_bytes(header[:8], "little"), 0
    while left and (part := stream.read(min(left, 1 << 20))):
        found = google_crc32c.extend(found, part)
        left -= len(part)
    return not left and stream.read(4) == _masked(found)


def _masked(crc: int) -> bytes:
    """A CRC-32C as TFRecord files hold it."""
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def _gzip_error(file: Path, budget: int) -> tuple[list[EdgemillError], int]:
    """Walk the frames of a gzipped file, at least the first, until `budget` compressed bytes were read.

    Returns:
        The error, if there is one, and how many compressed bytes were read.
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
        f"the TFRecord file is truncated or damaged after {records} whole records",
        where=str(file),
        bound="whole records to the end of the file",
        measured=f"{file.stat().st_size} bytes",
        remedy="copy or write the file again",
    )
