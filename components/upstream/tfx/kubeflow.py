"""TFX for Kubeflow Pipelines: its compiler and its container code. Importing this module doesn't import TFX."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any


def compile_for_kubeflow(pipeline: Any, image: str, command: Sequence[str]) -> dict[str, Any]:
    """Compile a TFX pipeline into a PipelineSpec of schema 2.1, as JSON. TFX's own arguments follow the command."""
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig

    config = KubeflowV2DagRunnerConfig(default_image=image, default_commands=list(command), use_pipeline_spec_2_1=True)
    return KubeflowV2DagRunner(config=config).run(pipeline, write_out=False)["pipelineSpec"]


def drive_example_gen(executor_input: dict[str, Any], inputs_spec: dict[str, Any]) -> None:
    """Run ExampleGen's driver, which resolves spans and fingerprints, and writes the output file that the input names.

    Args:
        executor_input: The ExecutorInput, as JSON.
        inputs_spec: The component's `inputDefinitions`, as JSON.
    """
    from tfx.orchestration.kubeflow.v2.file_based_example_gen import driver

    driver.main(
        argparse.Namespace(
            json_serialized_invocation_args=json.dumps(executor_input),
            json_serialized_inputs_spec_args=json.dumps(inputs_spec),
        )
    )


def parse_artifacts(messages: Any, ids: dict[int, str]) -> dict[str, Any]:
    """Convert artifacts of an ExecutorInput to TFX artifacts, and fill `ids` with their names in the backend."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils

    return dict(kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(messages, ids))


def parse_properties(values: Any, parameters: Any, inputs_spec: Any) -> dict[str, Any]:
    """Convert `parameter_values` of an ExecutorInput to execution properties, with the component's `inputs_spec`."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils

    return dict(kubeflow_v2_entrypoint_utils.parse_execution_properties(values, parameters, inputs_spec))


def artifact_messages(outputs: dict[str, Any], ids: dict[int, str]) -> dict[str, Any]:
    """Convert output artifacts to messages of an ExecutorOutput; `ids` are from `parse_artifacts`."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils

    return dict(kubeflow_v2_entrypoint_utils.translate_executor_output(outputs, ids))


def tag_with_version(outputs: dict[str, Any]) -> None:
    """Set the property with the version of TFX on output artifacts."""
    from tfx.orchestration.portable import outputs_utils

    outputs_utils.tag_output_artifacts_with_version(outputs)
