"""Reads one feature of serialized tf.Examples without parsing the others."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from components.core.errors import DataError

_FIRST_FIELD = 0x0A  # Field 1, length-delimited: Example.features, Features.feature, an entry's key.
_SECOND_FIELD = b"\x12"  # Field 2, length-delimited: an entry's value.


def feature_reader(name: str) -> Callable[[bytes], bytes]:
    """Return a function that extracts one feature from a serialized tf.Example, in canonical serialized form.

    Equal values give equal bytes. The function raises a DataError if the feature is missing or empty, or if the bytes
    aren't a tf.Example.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    key = name.encode()
    prefix = bytes([_FIRST_FIELD]) + _varint(len(key)) + key + _SECOND_FIELD

    @functools.lru_cache(maxsize=1 << 14)
    def canonical(feature: bytes) -> bytes:
        return tf.train.Feature.FromString(feature).SerializeToString()

    def read(example: bytes) -> bytes:
        feature = _walk(example, prefix)
        try:
            if feature is None:
                features = tf.train.Example.FromString(example).features.feature
                feature = features[name].SerializeToString() if name in features else b""
            content = canonical(feature)
        except DecodeError as error:
            raise DataError(
                "a record is not a tf.Example", where="examples", remedy="write the records as serialized tf.Examples"
            ) from error
        # A feature without values takes two bytes: its kind and the length 0.
        if len(content) <= 2:
            raise DataError(
                f"an example lacks the feature {name!r} that the sample is stratified by",
                where="calibrate.stratify_by",
                bound=f"every example has {name!r}",
                remedy="specify a feature that every example has, complete the data, or sample uniformly",
            )
        return content

    return read


def feature_values(feature: bytes) -> tuple[int | float | str, ...]:
    """Return the values of a serialized feature. Bytes are decoded as text, with escapes for invalid UTF-8."""
    import tensorflow as tf

    parsed = tf.train.Feature.FromString(feature)
    if parsed.HasField("bytes_list"):
        return tuple(value.decode(errors="backslashreplace") for value in parsed.bytes_list.value)
    if parsed.HasField("float_list"):
        # The shortest decimal that rounds to the same float32.
        return tuple(float(str(np.float32(value))) for value in parsed.float_list.value)
    return tuple(parsed.int64_list.value)


def _walk(example: bytes, prefix: bytes) -> bytes | None:
    """Return the value of the map entry that begins with `prefix`, several times faster than a full parse.

    Return None if there is no such entry, or if the bytes don't have the usual layout: an Example with one Features,
    whose entries have the key before the value. In both cases, the caller needs a full parse.
    """
    try:
        size, at = _read_varint(example, 1)
        if example[0] != _FIRST_FIELD or at + size != len(example):
            return None
        while example[at] == _FIRST_FIELD:
            size = example[at + 1]
            at += 2
            if size > 0x7F:
                size, at = _read_varint(example, at - 1)
            if example.startswith(prefix, at):
                length, start = _read_varint(example, at + len(prefix))
                return example[start : start + length] if start + length == at + size else None
            at += size
    except IndexError:
        pass
    return None


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := content[at]) > 0x7F:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1


def _varint(value: int) -> bytes:
    low = []
    while value > 0x7F:
        low.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*low, value])
