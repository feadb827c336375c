"""How much is read of what a registry holds, so that endless data is refused before it fills the memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.core.errors import StorageError
from components.core.files import read_regular

# Signed metadata of ten thousand device classes needs a few megabytes; every other document is shorter.
LONGEST_DOCUMENT = 50_000_000
# A model is a FlatBuffer, whose offsets have 31 bits, and the files next to it are smaller.
LARGEST_FILE = 2**31 - 1


class TooLongError(StorageError):
    """Something has more bytes than it can have if nobody changed it."""


def largest(name: str) -> int:
    """Return how many bytes a file of a registry can have, by its name: a JSON document, or a file of a release."""
    return LONGEST_DOCUMENT if name.endswith(".json") else LARGEST_FILE


def too_long(where: str, most: int, declared: int | None = None) -> TooLongError:
    """The error for something with more than `most` bytes, or with as many as are `declared`."""
    return TooLongError(
        "it is too long",
        where=where,
        bound=f"at most {most:,} bytes",
        measured=f"more than {most:,} bytes" if declared is None else f"{declared:,} bytes",
        remedy="find out who changed it, restore it from a copy of the registry or remove it, and run again",
    )


def joined(parts: Iterable[bytes], where: str, most: int | None) -> bytes:
    """Join the parts of an answer. Raises a TooLongError at the first one that makes it longer than `most` bytes."""
    found = bytearray()
    for part in parts:
        found += part
        if most is not None and len(found) > most:
            raise too_long(where, most)
    return bytes(found)


def read_bounded(path: Path, most: int) -> bytes:
    """Read a regular file.

    Raises:
        TooLongError: It has more than `most` bytes.
        OSError: It can't be read.
    """
    content = read_regular(path, most + 1)
    if len(content) > most:
        raise too_long(str(path), most)
    return content
