"""The nodes that measure candidates with the tools of a device, and that combine the measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tfx.dsl.components.base.base_node import BaseNode
from tfx.types.channel import BaseChannel

from components.device_check.component import DeviceCheck, DeviceCheckRequest
from components.device_check.measure.component import DeviceMeasurement
from components.device_check.measure.measurement import MeasurementRequest
from components.spec.devices.device import DeviceProfile
from components.spec.evaluate import EvaluationSpec
from components.tfx.candidate_inputs import PREDICTIONS, candidate_node
from pipelines.file.spec import PipelineSpec
from pipelines.graph.ingest import Ingested

DEVICE_CHECK, MEASUREMENT = "components.device_check.component", "components.device_check.measure.component"


def measurements(
    device: DeviceProfile,
    candidates: Mapping[str, BaseChannel],
    floats: BaseChannel,
    spec: PipelineSpec,
    data: Ingested,
    *,
    retry: Callable[[str], str],
    task: Mapping[str, str],
) -> dict[str, BaseNode]:
    """Create a node for each recipe, so that adding a recipe doesn't affect the others.

    Args:
        device: A device with evaluators.
        candidates: Name of a recipe -> its candidate.
        floats: Predictions of the baseline.
        spec, data: The pipeline file, and its examples.
        retry: As for `pipelines.graph.build.pipeline_nodes`.
        task: Parameters of components that call the task.
    """
    nodes = {}
    for recipe, candidate in candidates.items():
        node = f"measure__{device.name}__{recipe}"
        asked = MeasurementRequest(evaluators=device.evaluators, split="")
        named = {"device": device.name, "recipe": recipe, "retry": retry(node)}
        nodes[recipe] = _measurement(asked, candidate, floats, spec, data, {**task, **named}).with_id(node)
    return nodes


def champion_measurement(
    device: DeviceProfile,
    champion: BaseChannel,
    floats: BaseChannel,
    spec: PipelineSpec,
    data: Ingested,
    *,
    retry: Callable[[str], str],
    task: Mapping[str, str],
) -> BaseNode | None:
    """Create the node that runs the champion under TensorFlow Lite Micro; None for a device without this evaluator.

    Args:
        champion: The champion.
        device, floats, spec, data, retry, task: As for `measurements`.
    """
    if device.tflm is None:
        return None
    node = f"measure_champion__{device.name}"
    asked = MeasurementRequest(evaluators=(device.tflm,), split="")
    named = {"device": device.name, "recipe": "champion", "retry": retry(node)}
    return _measurement(asked, champion, floats, spec, data, {**task, **named}).with_id(node)


def _measurement(
    asked: MeasurementRequest,
    model: BaseChannel,
    floats: BaseChannel,
    spec: PipelineSpec,
    data: Ingested,
    parameters: Mapping[str, str],
) -> BaseNode:
    # A tool that doesn't run the file must not run again for other examples.
    runs = asked.examples != 0
    read = {"baseline": floats, "examples": data.examples, "transform_graph": data.transform_graph}
    optional = {name: each for name, each in read.items() if each is not None and runs}
    evaluate = spec.evaluate if runs else EvaluationSpec()
    asked = asked.model_copy(
        update={
            "split": evaluate.split,
            "batch_size": evaluate.batch_size,
            "max_bytes": evaluate.max_prediction_bytes,
        }
    )
    node: BaseNode = DeviceMeasurement(candidate=model, **optional, spec=asked.model_dump_json(), **parameters)
    return node


def device_check(
    device: DeviceProfile,
    candidates: Mapping[str, BaseChannel],
    measured: Mapping[str, BaseNode],
    baseline: BaseChannel,
    floats: BaseChannel,
    spec: PipelineSpec,
    data: Ingested,
    evaluation: EvaluationSpec,
    task: Mapping[str, str],
) -> BaseNode:
    """Create the node that combines the measurements of a device.

    Args:
        device, candidates, floats, spec, data: As for `measurements`.
        measured: Name of a recipe -> the node that measures its candidate.
        baseline: The float model.
        evaluation: The metrics and slices.
        task: Parameters of components that call the task and the functions of metrics.
    """
    # Without a runtime, no metric is computed, so a new metric must not repeat the check.
    asked = DeviceCheckRequest(
        device=device.name,
        evaluators=device.evaluators,
        evaluation=evaluation if device.runs_examples else EvaluationSpec(split=spec.evaluate.split),
        label=spec.examples.label,
    )
    read = {"examples": data.examples, "transform_graph": data.transform_graph, "baseline": baseline}
    read[PREDICTIONS] = floats
    return candidate_node(
        DeviceCheck,
        candidates,
        {name: node.outputs["measurement"] for name, node in measured.items()},
        **{name: each if device.runs_examples else None for name, each in read.items()},
        spec=asked.model_dump_json(),
        **task,
    ).with_id(f"device_check__{device.name}")
