"""TFLite files as objects that can be changed, by TensorFlow's own classes. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

__all__ = ["pack", "schema", "unpack"]


def unpack(content: bytes) -> Any:
    """A file as a `schema.ModelT`; data that lies behind the flatbuffer stays out of it."""
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))


def pack(model: Any) -> bytes:
    """A `schema.ModelT` as a file."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
