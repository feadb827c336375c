"""The nodes that ingest and validate examples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.components.example_gen.import_example_gen.component import ImportExampleGen
from tfx.components.schema_gen.component import SchemaGen
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.proto import example_gen_pb2, transform_pb2
from tfx.types.channel import BaseChannel
from tfx.utils.proto_utils import proto_to_json
from typing_extensions import assert_never

from components.core.files import sha256_of
from components.core.version import code_version
from components.ingest.component import (
    CLASSES,
    CheckedCsv,
    CheckedImport,
    CheckedParquet,
    CsvExecutor,
    ImportedSchema,
    own_example_gen,
    packed,
)
from components.ingest.made import MADE, MadeExecutor
from components.ingest.parquet import ParquetExecutor
from components.spec.baseline import TrainedBaseline
from components.spec.validate import ReadExpectations
from components.validate.component import StrictExampleValidator
from pipelines.file.spec import (
    ArrayExamples,
    AudioExamples,
    CsvExamples,
    DeclaredSplits,
    Examples,
    GeneratorExamples,
    ImageExamples,
    ParquetExamples,
    PipelineSpec,
    TFRecordExamples,
)
from pipelines.graph.sources import made_splits, reads_digest


@dataclass(frozen=True)
class Ingested:
    """Validated examples, and the nodes that produce them.

    Attributes:
        nodes: In topological order.
        validated: The node that later nodes must wait for.
        examples: Examples for later nodes: raw, or transformed if the pipeline preprocesses.
        transform_graph: The graph of the transformation; None without preprocessing.
    """

    nodes: tuple[BaseNode, ...]
    validated: BaseNode
    examples: BaseChannel
    transform_graph: BaseChannel | None


def ingest(spec: PipelineSpec, digests: str | None = None) -> Ingested:
    """Build ExampleGen, StatisticsGen, SchemaGen (or a given schema), a strict ExampleValidator, and any Transform.

    The digests are the examples' identities (`pipelines.graph.sources`): a parameter of ExampleGen, which then checks
    that it reads these examples. None if they are unknown.
    """
    examples = _example_gen(spec.examples, digests).with_id("examples")
    statistics = StatisticsGen(examples.outputs["examples"]).with_id("statistics")
    if spec.examples.schema_file:
        schema = ImportedSchema(
            path=spec.examples.schema_file,
            sha256=sha256_of(Path(spec.examples.schema_file)),
            code_version=code_version("components.ingest.component"),
        ).with_id("schema")
    else:
        # Inferred without the evaluation split, so that deviations in that split are found.
        schema = SchemaGen(statistics.outputs["statistics"], exclude_splits=[spec.evaluate.split]).with_id("schema")
    validated = StrictExampleValidator(
        examples.outputs["examples"],
        statistics.outputs["statistics"],
        schema.outputs["schema"],
        _expectations(spec),
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
        splits_config=_transform_splits(spec),
        # Invalidates the cache if the function changes. Transform passes it to functions that accept it.
        custom_config={"code_version": _version(spec, module)},
    ).with_id("transform")
    transform.add_upstream_node(validated)
    return Ingested(
        (*nodes, transform), transform, transform.outputs["transformed_examples"], transform.outputs["transform_graph"]
    )


def _version(spec: PipelineSpec, module: str) -> str:
    return " ".join(filter(None, [code_version(module), reads_digest(spec.reads)]))


def _expectations(spec: PipelineSpec) -> ReadExpectations:
    splits = spec.examples.splits
    others = {feature for features in spec.slices() for feature in features}
    others |= {spec.evaluate.group_by} if spec.evaluate.group_by is not None else set()
    if spec.calibrate is not None and spec.calibrate.stratify_by is not None:
        others.add(spec.calibrate.stratify_by)
    return ReadExpectations(
        label=spec.examples.label,
        num_classes=spec.examples.num_classes,
        max_overlap=spec.examples.max_overlap,
        evaluation=spec.evaluate.split,
        task=None if spec.preprocess else spec.task,
        task_version="" if spec.preprocess else _version(spec, spec.task.partition(":")[0]),
        # A given schema states what its author requires; an inferred schema only describes the training data.
        whole_schema=spec.examples.schema_file is not None,
        others=tuple(sorted(others)),
        apart=None if isinstance(splits, DeclaredSplits) else splits.feature,
    )


def _transform_splits(spec: PipelineSpec) -> transform_pb2.SplitsConfig:
    """Compute vocabularies and moments from the training or calibration split, never from the evaluation split."""
    names = spec.examples.splits.names
    if isinstance(spec.baseline, TrainedBaseline):
        analyzed = spec.baseline.split
    elif spec.calibrate is not None:
        analyzed = spec.calibrate.split
    else:
        analyzed = next(name for name in names if name != spec.evaluate.split)
    return transform_pb2.SplitsConfig(analyze=[analyzed], transform=names)


def _example_gen(examples: Examples, digests: str | None) -> FileBasedExampleGen:
    checked: type[BaseExampleGenExecutor]
    split = example_gen_pb2.Input.Split
    files = [split(name=name or "all", pattern=pattern) for name, pattern in examples.patterns.items()]
    arguments: dict[str, Any] = {
        "input_base": examples.path,
        "input_config": example_gen_pb2.Input(splits=files),
        "output_config": _output_config(examples),
    }
    configuration = json.loads(digests or "{}")
    match examples:
        case TFRecordExamples():
            node, checked = ImportExampleGen(**arguments), CheckedImport
        case CsvExamples() | ParquetExamples():
            version = code_version("components.ingest.component")
            executor, checked = (
                (CsvExecutor, CheckedCsv) if isinstance(examples, CsvExamples) else (ParquetExecutor, CheckedParquet)
            )
            node = own_example_gen(**arguments, configuration=version, executor=executor)
            configuration = {"code_version": version, **configuration} if configuration else {}
        case ImageExamples() | AudioExamples() | ArrayExamples() | GeneratorExamples():
            made = {"code_version": code_version("components.ingest.made"), MADE: made_splits(examples).model_dump()}
            # This executor checks its inputs by itself.
            return own_example_gen(
                **arguments, configuration=json.dumps({**made, **configuration}), executor=MadeExecutor
            )
        case _:
            assert_never(examples)
    if isinstance(examples, CsvExamples | ParquetExamples) and examples.classes is not None:
        version = code_version("components.ingest.component")
        configuration |= {"code_version": version, CLASSES: {"label": examples.label, "names": examples.classes}}
    if configuration:
        # The stock components have no argument for it. TFX's cache and the executor that checks the inputs read it.
        node.executor_spec = BeamExecutorSpec(checked)
        node.spec.exec_properties["custom_config"] = proto_to_json(packed(json.dumps(configuration)))
    return node


def _output_config(examples: Examples) -> example_gen_pb2.Output | None:
    splits = examples.splits
    if isinstance(splits, DeclaredSplits):
        return None
    split = example_gen_pb2.SplitConfig.Split
    buckets = [split(name=name, hash_buckets=count) for name, count in splits.buckets.items()]
    # TFX would look up a feature with an empty name.
    partition = {"partition_feature_name": splits.feature} if splits.feature else {}
    return example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=buckets, **partition))
