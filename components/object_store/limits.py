"""Limits of reads from a registry, so that endless data is refused before it fills the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from components.core.errors import StorageError
from components.core.files import read_regular

# The signed metadata of ten thousand device classes takes a few megabytes; every other document is shorter.
LONGEST_DOCUMENT = 50_000_000
# A model is a FlatBuffer, whose offsets have 31 bits, and the files next to it are smaller.
LARGEST_FILE = 2**31 - 1
# A list of a registry with a hundred thousand releases has fewer names. A store returns about a thousand of them at
# once.
MOST_LISTED = 1_000_000
MOST_PAGES = 10_000

_Item = TypeVar("_Item")


class DamagedError(StorageError):
    """Content differs from what was written, and remains so until somebody restores it."""


class TooLongError(DamagedError):
    """Content has more bytes than it can have if nobody changed it."""


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


class BoundedBody:
    """The body of an answer, which ends at the first part that makes it too long.

    Args:
        raw: The body, with a method `stream`.
        too_long: Creates the error.
        most: How many bytes it can have.
    """

    def __init__(self, raw: Any, too_long: Callable[[], TooLongError], most: int) -> None:
        self._raw, self._too_long, self._most = raw, too_long, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, *arguments: Any, **options: Any) -> Iterator[bytes]:
        """Yield the parts, like the body itself."""
        received = 0
        for part in self._raw.stream(*arguments, **options):
            received += len(part)
            if received > self._most:
                self._raw.close()
                raise self._too_long()
            yield part


def listed(pages: Iterable[Iterable[_Item]], where: str) -> Iterator[_Item]:
    """Yield the items on the pages of a list. Raises a TooLongError if the list is endless."""
    names = 0
    for number, page in enumerate(pages, 1):
        for one in page:
            names += 1
            if names > MOST_LISTED:
                raise _endless(where, f"{MOST_LISTED:,} names")
            yield one
        if number == MOST_PAGES:
            raise _endless(where, f"{MOST_PAGES:,} pages")


def _endless(where: str, most: str) -> TooLongError:
    return TooLongError(
        "its list is too long",
        where=where,
        bound=f"at most {most}",
        measured="more",
        remedy="find out who filled it, or what server answers in its place, remove what doesn't belong there, and "
        "run again",
    )
