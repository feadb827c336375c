"""TFX components of ingestion: a Parquet ExampleGen, digest-checked executors, and a schema import."""

import json
from pathlib import Path
from typing import Any

from google.protobuf import wrappers_pb2
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.components.example_gen.csv_example_gen.executor import Executor as CsvExecutor
from tfx.components.example_gen.import_example_gen.executor import Executor as ImportExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.proto import example_gen_pb2
from tfx.types.standard_artifacts import Schema

from components.core.files import check_unchanged, sha256_of_bytes, write_atomically
from components.ingest.parquet import ParquetExecutor
from components.ingest.schema import parse_schema
from components.ingest.sources import check_sources, description_in
from components.upstream.tfx.dsl import OutputArtifact, Parameter, component

# The file name that stock components look for in a Schema artifact.
SCHEMA_FILE = "schema.pbtxt"


class _Checked(BaseExampleGenExecutor):
    """An ExampleGen executor that fails if the files it read differ from those that its parameter describes."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: dict[str, Any]) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        address = exec_properties["input_base"]
        description = description_in(exec_properties.get("custom_config") or "")
        # Objects in a bucket are listed with their versions. Reading them all again would cost more than it saves.
        if description and "://" not in address:
            splits = json.loads(exec_properties["input_config"])["splits"]
            check_sources(Path(address), [split["pattern"] for split in splits], description)


class CheckedImport(_Checked, ImportExecutor):
    """TFX's executor for TFRecords, with the check."""


class CheckedCsv(_Checked, CsvExecutor):
    """TFX's executor for CSV, with the check."""


class CheckedParquet(_Checked, ParquetExecutor):
    """Edgemill's executor for Parquet, with the check."""


def packed(text: str) -> example_gen_pb2.CustomConfig:
    """Pack a string as ExampleGen's custom configuration."""
    custom = example_gen_pb2.CustomConfig()
    custom.custom_config.Pack(wrappers_pb2.StringValue(value=text))
    return custom


def parquet_example_gen(
    input_base: str,
    input_config: example_gen_pb2.Input,
    output_config: example_gen_pb2.Output | None,
    code_version: str,
) -> FileBasedExampleGen:
    """Create an ExampleGen for Parquet files. Its otherwise unused custom configuration holds the code version."""
    return FileBasedExampleGen(
        input_base=input_base,
        input_config=input_config,
        output_config=output_config,
        custom_config=packed(code_version),
        custom_executor_spec=BeamExecutorSpec(ParquetExecutor),
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
