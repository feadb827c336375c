"""TFX components of ingestion: executors for CSV and Parquet that check digests, and a schema import."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
from google.protobuf import wrappers_pb2
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.components.example_gen.import_example_gen.executor import Executor as ImportExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types.standard_artifacts import Schema
from tfx_bsl.coders.csv_decoder import ColumnType, ColumnTypeInferrer

from components.core.errors import DataError
from components.core.files import check_unchanged, sha256_of_bytes, write_atomically
from components.ingest.classes import Numbered
from components.ingest.parquet import ParquetExecutor, to_example
from components.ingest.schema import parse_schema
from components.ingest.sources import check_sources, configuration_in, description_in, matching
from components.ingest.tables import TableReader
from components.upstream.tfx.dsl import OutputArtifact, Parameter, component

# Key of the custom configuration, a JSON object, for the label and the names of the classes.
CLASSES = "classes"
# The file name that stock components look for in a Schema artifact.
SCHEMA_FILE = "schema.pbtxt"


class _Checked(BaseExampleGenExecutor):
    """An ExampleGen executor that fails if the files it read differ from those that its parameter describes."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: dict[str, Any]) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        address = exec_properties["input_base"]
        description = description_in(exec_properties.get("custom_config") or "")
        # Objects in a bucket are listed with their versions. Reading all of them again would cost more than it saves.
        if description and "://" not in address:
            splits = json.loads(exec_properties["input_config"])["splits"]
            files = matching(Path(address), [split["pattern"] for split in splits])
            check_sources(Path(address), files, description)


class CheckedImport(_Checked, ImportExecutor):
    """TFX's executor for TFRecords, with the check."""


class _Numbering(BaseExampleGenExecutor):
    """An ExampleGen executor that converts names of classes to numbers, if its parameter has the names."""

    def GetInputSourceToExamplePTransform(self) -> Any:
        """See the base class."""
        of_files = super().GetInputSourceToExamplePTransform()

        def transform(exec_properties: dict[str, Any], split_pattern: str) -> Any:
            inner = of_files(exec_properties, split_pattern)
            named = configuration_in(exec_properties.get("custom_config") or "").get(CLASSES)
            return inner if named is None else Numbered(inner, named["label"], named["names"])

        return transform


@beam.ptransform_fn
@beam.typehints.with_input_types(beam.Pipeline)
@beam.typehints.with_output_types(tf.train.Example)
def _csv_to_example(pipeline: Any, exec_properties: dict[str, Any], split_pattern: str) -> Any:
    pattern = f"{exec_properties['input_base']}/{split_pattern}"
    files = sorted(fileio.glob(pattern))
    names = _names(files[0]) if files else ()
    if other := next((file for file in files if _names(file) != names), None):
        raise DataError(
            "CSV files of one split have different header lines",
            where=other,
            bound=", ".join(names),
            measured=", ".join(_names(other)),
            remedy="write the same columns in the same order into each file, or narrow the pattern",
        )
    rows = pipeline | "files" >> beam.Create(files) | "rows" >> beam.FlatMap(_rows_of)
    types = rows | "types" >> beam.CombineGlobally(ColumnTypeInferrer(list(names), skip_blank_lines=True))
    return rows | "to tf.Example" >> beam.Map(_typed, beam.pvalue.AsSingleton(types))


def _names(file: str) -> tuple[str, ...]:
    try:
        with fileio.open(file, "rb") as content:
            return TableReader(content).names
    except DataError as error:
        raise error.placed(file) from error


def _rows_of(file: str) -> Iterator[list[bytes]]:
    try:
        with beam.io.filesystems.FileSystems.open(file, "application/octet-stream") as content:
            for row in TableReader(content):
                yield [cell.encode() for cell in row]
    except DataError as error:
        raise error.placed(file) from error


_PARSED = {ColumnType.INT: int, ColumnType.FLOAT: float, ColumnType.STRING: bytes}


def _typed(row: list[bytes], columns: list[Any]) -> tf.train.Example:
    """A row whose cells have the types of their columns. An empty cell has no value."""
    cells = zip(columns, row, strict=True)
    return to_example({name: _PARSED[kind](cell) if cell else None for (name, kind), cell in cells})


class CsvExecutor(BaseExampleGenExecutor):
    """ExampleGen executor for CSV tables. TFX's own (1.21) treats quotes and a byte order mark as parts of names."""

    def GetInputSourceToExamplePTransform(self) -> Any:
        """See the base class."""
        return _csv_to_example


class CheckedCsv(_Checked, _Numbering, CsvExecutor):
    """Edgemill's executor for CSV, with the check and class numbers."""


class CheckedParquet(_Checked, _Numbering, ParquetExecutor):
    """Edgemill's executor for Parquet, with the check and class numbers."""


def packed(text: str) -> example_gen_pb2.CustomConfig:
    """Pack a string as ExampleGen's custom configuration."""
    custom = example_gen_pb2.CustomConfig()
    custom.custom_config.Pack(wrappers_pb2.StringValue(value=text))
    return custom


def own_example_gen(
    input_base: str,
    input_config: example_gen_pb2.Input,
    output_config: example_gen_pb2.Output | None,
    configuration: str,
    executor: type[BaseExampleGenExecutor],
) -> FileBasedExampleGen:
    """Create an ExampleGen with an executor of Edgemill's. Only that executor reads its custom configuration."""
    return FileBasedExampleGen(
        input_base=input_base,
        input_config=input_config,
        output_config=output_config,
        custom_config=packed(configuration),
        custom_executor_spec=BeamExecutorSpec(executor),
    )


@component
def ImportedSchema(
    path: Parameter[str],
    sha256: Parameter[str],
    code_version: Parameter[str],  # noqa: ARG001
    schema: OutputArtifact[Schema],
) -> None:
    """Imports a schema. The file's digest is a parameter so that a changed file invalidates the cache."""
    content = Path(path).read_bytes()
    check_unchanged(Path(path), sha256_of_bytes(content), sha256)
    parse_schema(content, path)
    write_atomically(Path(schema.uri, SCHEMA_FILE), content)
    # No manifest: stock components read the only file of a Schema artifact as the schema.
    schema.set_string_custom_property("sha256", sha256)
