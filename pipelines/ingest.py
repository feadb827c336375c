"""The nodes that bring examples in and look at them, before anything of ours touches them."""

from __future__ import annotations

from dataclasses import dataclass

from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.components.example_gen.csv_example_gen.component import CsvExampleGen
from tfx.components.example_gen.import_example_gen.component import ImportExampleGen
from tfx.components.schema_gen.component import SchemaGen
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.proto import example_gen_pb2
from tfx.types.channel import BaseChannel
from typing_extensions import assert_never

from components.ingest.parquet import ParquetExecutor
from components.validate.component import StrictExampleValidator
from components.validate.spec import DataExpectations
from components.version import code_version
from pipelines.spec import (
    CsvExamples,
    DeclaredSplits,
    Examples,
    HashedSplits,
    ParquetExamples,
    PipelineSpec,
    Splits,
    TFRecordExamples,
)


@dataclass(frozen=True)
class Ingested:
    """Validated examples, and the nodes that made them.

    Attributes:
        nodes: In topological order.
        validated: What later nodes must wait for.
        examples: What later nodes read: raw, or transformed if the pipeline preprocesses.
        transform_graph: The graph that transformed them; None without preprocessing.
    """

    nodes: tuple[BaseNode, ...]
    validated: BaseNode
    examples: BaseChannel
    transform_graph: BaseChannel | None


def ingest(spec: PipelineSpec) -> Ingested:
    """ExampleGen, StatisticsGen, SchemaGen (or a given schema), a strict ExampleValidator, and maybe Transform."""
    examples = _example_gen(spec.examples).with_id("examples")
    statistics = StatisticsGen(examples.outputs["examples"]).with_id("statistics")
    if spec.examples.schema_file:
        schema = ImportSchemaGen(spec.examples.schema_file).with_id("schema")
    else:
        # Inferred without the evaluation split, or that split could not deviate from it.
        schema = SchemaGen(statistics.outputs["statistics"], exclude_splits=[spec.evaluate.split]).with_id("schema")
    validated = StrictExampleValidator(
        statistics.outputs["statistics"],
        schema.outputs["schema"],
        DataExpectations(label=spec.examples.label, num_classes=spec.examples.num_classes),
        code_version=code_version("components.validate.component"),
    ).with_id("validate")
    nodes = (examples, statistics, schema, validated)
    if spec.preprocess is None:
        return Ingested(nodes, validated, examples.outputs["examples"], None)
    from tfx.components.transform.component import Transform

    module, _, function = spec.preprocess.partition(":")
    transform = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn=f"{module}.{function}",
        # Transform passes it on to functions that ask for it; here it keeps a changed function out of the cache.
        custom_config={"code_version": code_version(module)},
    ).with_id("transform")
    transform.add_upstream_node(validated)
    return Ingested(
        (*nodes, transform), transform, transform.outputs["transformed_examples"], transform.outputs["transform_graph"]
    )


def _example_gen(examples: Examples) -> FileBasedExampleGen:
    arguments = {
        "input_base": examples.path,
        "input_config": _input_config(examples.splits),
        "output_config": _output_config(examples.splits),
    }
    match examples:
        case TFRecordExamples():
            return ImportExampleGen(**arguments)
        case CsvExamples():
            return CsvExampleGen(**arguments)
        case ParquetExamples():
            return FileBasedExampleGen(**arguments, custom_executor_spec=BeamExecutorSpec(ParquetExecutor))
        case _:
            assert_never(examples)


def _input_config(splits: Splits) -> example_gen_pb2.Input:
    patterns = splits.patterns if isinstance(splits, DeclaredSplits) else {"all": splits.pattern}
    return example_gen_pb2.Input(
        splits=[example_gen_pb2.Input.Split(name=name, pattern=pattern) for name, pattern in patterns.items()]
    )


def _output_config(splits: Splits) -> example_gen_pb2.Output | None:
    match splits:
        case DeclaredSplits():
            return None
        case HashedSplits():
            buckets = [
                example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=count)
                for name, count in splits.buckets.items()
            ]
            # An empty feature name is not the same as none: TFX would look for it.
            partition = {"partition_feature_name": splits.feature} if splits.feature else {}
            return example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=buckets, **partition))
        case _:
            assert_never(splits)
