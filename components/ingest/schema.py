"""Reading a schema that a pipeline file names."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.core.errors import DataError


def parse_schema(content: bytes, path: str) -> Any:
    """A TensorFlow Metadata schema from a text proto.

    Args:
        content: The file's content.
        path: The file, for the message.

    Raises:
        DataError: The content is not a schema.
    """
    try:
        return text_format.Parse(content, schema_pb2.Schema())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise DataError(
            f"this is no schema: {error}",
            where=path,
            bound="a TensorFlow Metadata schema as text proto",
            remedy="correct that place, or leave `examples.schema_file` out to infer a schema",
        ) from error
