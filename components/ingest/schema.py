"""Parses the schema that a pipeline file names."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.core.errors import DataError, summary_line


def parse_schema(content: bytes, path: str) -> Any:
    """Parse a TensorFlow Metadata schema from a text proto. The path is for error messages.

    Raises:
        DataError: The content isn't a schema.
    """
    try:
        return text_format.Parse(content.decode(), schema_pb2.Schema())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise DataError(
            f"this is not a schema: {summary_line(error)}",
            where=path,
            bound="a TensorFlow Metadata schema as a text proto",
            remedy="correct the file at that position, or omit `examples.schema_file` to infer a schema",
        ) from error
