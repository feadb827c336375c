"""TFLite files as mutable objects of TensorFlow's own classes. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

__all__ = ["pack", "schema", "unpack"]


def unpack(content: bytes) -> Any:
    """Parse a file into a `schema.ModelT`, without data that follows the flatbuffer."""
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))


def pack(model: Any) -> bytes:
    """Serialize a `schema.ModelT` to the bytes of a file."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
