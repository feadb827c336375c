"""TFX shells of bringing things in: a Parquet ExampleGen, and the import of a schema."""

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

# What stock components look for in a Schema artifact.
SCHEMA_FILE = "schema.pbtxt"


class _Checked(BaseExampleGenExecutor):
    """An ExampleGen that fails if the files that it read were not those that its parameter names."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: dict[str, Any]) -> None:
        """See the base class."""
        super().Do(input_dict, output_dict, exec_properties)
        address = exec_properties["input_base"]
        description = description_in(exec_properties.get("custom_config") or "")
        # Objects have been listed with their versions; reading all again would cost more than it saves.
        if description and "://" not in address:
            splits = json.loads(exec_properties["input_config"])["splits"]
            check_sources(Path(address), [split["pattern"] for split in splits], description)


class CheckedImport(_Checked, ImportExecutor):
    """TFX's for TFRecords."""


class CheckedCsv(_Checked, CsvExecutor):
    """TFX's for CSV."""


class CheckedParquet(_Checked, ParquetExecutor):
    """Ours for Parquet."""


def packed(text: str) -> example_gen_pb2.CustomConfig:
    """A text as ExampleGen's custom configuration."""
    custom = example_gen_pb2.CustomConfig()
    custom.custom_config.Pack(wrappers_pb2.StringValue(value=text))
    return custom


def parquet_example_gen(
    input_base: str,
    input_config: example_gen_pb2.Input,
    output_config: example_gen_pb2.Output | None,
    code_version: str,
) -> FileBasedExampleGen:
    """An ExampleGen for Parquet files; its code version is in its custom configuration, which nothing else reads."""
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
    """Imports a schema; its digest is a parameter, so that a changed file is not served from cache."""
    content = Path(path).read_bytes()
    check_unchanged(Path(path), sha256_of_bytes(content), sha256)
    parse_schema(content, path)
    write_atomically(Path(schema.uri, SCHEMA_FILE), content)
    # No manifest here: stock components take the only file of a Schema artifact for the schema.
    schema.set_string_custom_property("sha256", sha256)
