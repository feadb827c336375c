"""A node in its container: runs one TFX executor for the launcher.

TFX's own entrypoint fails on the open-source backend. That backend loses the types of input artifacts, passes URIs
where executors need paths, and never calls ExampleGen's driver. `kubeflow.contract` has the conversions.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import components  # noqa: F401  # chooses tf-keras before TensorFlow is imported
from components.core.stock_artifacts import CONTENT_PROPERTY, check_content, digest_to_record
from components.core.user_code import exits_reported, process_kept
from components.upstream.beam import keep_beam_in_process
from components.upstream.tfx import kubeflow as kubeflow_of_tfx
from components.upstream.tfx.orchestration import serialize_examples_in_one_order
from kubeflow.contract import Json, localize, publish, with_metadata
from kubeflow.folders import check_examples
from pipelines.graph.tfx_start import defer_tfx_components
from pipelines.runs.run import explain

# Prepended to `/s3`, `/minio`, and `/gcs`, for a launcher that cannot write to `/`.
PREFIX_VARIABLE = "EDGEMILL_STAGING_PREFIX"
UI_CLASSES = {f"system.{name}": f"kubeflow.pages.ui_component.{name}" for name in ("HTML", "Markdown", "Metrics")}

_LOG = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one node. Returns the exit status: 0, or 1 with the reason on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    # This logger writes dozens of irrelevant lines per pipeline about annotations.
    logging.getLogger("apache_beam.typehints").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    # TFX's compiler sets these names.
    for name in ("executor_class_path", "json_serialized_invocation_args", "json_serialized_inputs_spec_args"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--examples_sha256")
    known, beam_args = parser.parse_known_args(arguments)
    prefix = os.environ.get(PREFIX_VARIABLE, "")
    try:
        with exits_reported(), process_kept():
            run_node(
                known.executor_class_path,
                json.loads(known.json_serialized_invocation_args),
                json.loads(known.json_serialized_inputs_spec_args),
                beam_args,
                prefix,
                known.examples_sha256,
            )
    except Exception as error:
        _LOG.error("the node failed", exc_info=True)
        print(f"edgemill: {explain(error)}", file=sys.stderr)
        return 1
    return 0


def run_node(
    executor: str,
    handed: Json,
    inputs_spec: Json,
    beam_args: Sequence[str],
    prefix: str = "",
    examples_sha256: str | None = None,
) -> None:
    """Run an executor, and write the ExecutorOutput where the launcher looks for it.

    Args:
        executor: Import path of the executor's class.
        handed: The launcher's ExecutorInput.
        inputs_spec: The component's `inputDefinitions`.
        beam_args: Arguments of every Beam pipeline of the executor.
        prefix: As for `kubeflow.contract.local_path`.
        examples_sha256: `kubeflow.folders.examples_digest` at compile time. Only for ExampleGen.
    """
    defer_tfx_components()
    from pipelines.storage.filesystem import register

    keep_beam_in_process()
    serialize_examples_in_one_order()
    register()
    executor_input = localize(handed, inputs_spec, UI_CLASSES, prefix)
    output_file = Path(handed["outputs"]["outputFile"])
    parameters = executor_input["inputs"].get("parameterValues", {})
    if "input_config" in parameters:
        if examples_sha256 is not None:
            patterns = [split["pattern"] for split in json.loads(parameters["input_config"])["splits"]]
            check_examples(Path(parameters["input_base"]), patterns, examples_sha256)
        # Resolves spans and fingerprints. The backend never runs this driver.
        kubeflow_of_tfx.drive_example_gen(executor_input, inputs_spec)
        executor_input = with_metadata(executor_input, json.loads(output_file.read_bytes()))
    made = _execute(executor, executor_input, inputs_spec, beam_args)
    output_file.parent.mkdir(parents=True, exist_ok=True)
    output_file.write_text(json.dumps(publish(made, handed, prefix), indent=2, sort_keys=True))


def _execute(executor: str, executor_input: Json, inputs_spec: Json, beam_args: Sequence[str]) -> Json:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.dsl.components.base.base_executor import BaseExecutor
    from tfx.utils import import_utils

    parsed = json_format.ParseDict(executor_input, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True)
    spec = json_format.ParseDict(inputs_spec, pipeline_spec_pb2.ComponentInputsSpec(), ignore_unknown_fields=True)
    ids: dict[int, str] = {}
    inputs = kubeflow_of_tfx.parse_artifacts(parsed.inputs.artifacts, ids)
    outputs = kubeflow_of_tfx.parse_artifacts(parsed.outputs.artifacts, ids)
    properties = kubeflow_of_tfx.parse_properties(parsed.inputs.parameter_values, parsed.inputs.parameters, spec)
    executor_class: Any = import_utils.import_class_by_path(executor)
    task_root = Path(parsed.outputs.output_file).parent
    place = {"unique_id": task_root.name, "tmp_dir": str(task_root / ".temp")}
    if issubclass(executor_class, BaseBeamExecutor):
        context = BaseBeamExecutor.Context(beam_pipeline_args=list(beam_args), **place)
    else:
        context = BaseExecutor.Context(extra_flags=list(beam_args), **place)
    read = list(chain.from_iterable(inputs.values()))
    check_content(read)
    executor_class(context).Do(inputs, outputs, properties)
    check_content(read)
    # The pages show every property of a `system.` artifact, so keep TFX's version out of the metrics.
    of_tfx = {name: listed for name, listed in outputs.items() if not listed[0].type_name.startswith("system.")}
    kubeflow_of_tfx.tag_with_version(of_tfx)
    for artifact in chain.from_iterable(of_tfx.values()):
        if digest := digest_to_record(Path(artifact.uri), artifact.mlmd_artifact.custom_properties):
            artifact.set_string_custom_property(CONTENT_PROPERTY, digest)
    output = pipeline_spec_pb2.ExecutorOutput()
    for name, listed in kubeflow_of_tfx.artifact_messages(outputs, ids).items():
        output.artifacts[name].CopyFrom(listed)
    made: Json = json_format.MessageToDict(output)
    return made
