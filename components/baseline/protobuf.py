"""Reads protocol buffers without their schema, which needs TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """Yield the fields of type bytes with a given number.

    Raises:
        ValueError, IndexError: The message is not a protocol buffer.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case kind if kind == _VARINT:
                _, at = _varint(message, at)
            case kind if kind == _FIXED64:
                at += 8
            case kind if kind == _FIXED32:
                at += 4
            case kind if kind == _BYTES:
                size, at = _varint(message, at)
                if at + size > len(message):
                    raise ValueError("truncated")
                if key >> 3 == wanted:
                    yield message[at : at + size]
                at += size
            case _:
                raise ValueError("not a protocol buffer")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
