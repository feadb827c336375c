"""TFX component of the device check: N measurements of candidates -> the findings of one device's tools."""

import json
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.core.values import FrozenModel, serialized
from components.data.examples import split_files
from components.facts.artifact_paths import DEVICE_REPORT_FILE, SERVING_FOLDER
from components.facts.device import DeviceReport
from components.facts.manifest import describe, write_manifest
from components.facts.verified import verified
from components.spec.devices.device_tools import DeviceEvaluator
from components.spec.evaluate import EvaluationSpec
from components.tfx.candidate_inputs import PREDICTIONS, input_of, predictions_of


class DeviceCheckRequest(FrozenModel):
    """The `spec` parameter of a device check.

    It doesn't include the device's bounds, so that changing a bound doesn't repeat the measurement.

    Attributes:
        device: Name of the device profile.
        evaluators: The device's tools.
        evaluation: The metrics and the split whose first examples are run.
        label: The feature that metrics compare predictions with if the task declares no targets.
    """

    device: str
    evaluators: tuple[DeviceEvaluator, ...]
    evaluation: EvaluationSpec
    label: str


class DeviceCheckExecutor(base_executor.BaseExecutor):
    """Writes `device_report.json` (a `components.facts.device.DeviceReport`) and `manifest.json`."""

    def Do(
        self, input_dict: dict[str, list[Any]], output_dict: dict[str, list[Any]], exec_properties: dict[str, Any]
    ) -> None:
        """Combine the measurements. The report lists candidates in the order of the property `recipes`."""
        from components.device_check.measure.measurement import Measurement, examples_of, findings

        request = DeviceCheckRequest.model_validate_json(exec_properties["spec"])
        inputs = {name: artifact_utils.get_single_instance(each) for name, each in input_dict.items() if each}
        recipes = json.loads(exec_properties["recipes"])
        candidates = {name: verified(inputs[input_of(name)]) for name in recipes}
        measurements = {name: Measurement(verified(inputs[predictions_of(name)])) for name in recipes}
        parents = {name: candidate.manifest.sha256 for name, candidate in candidates.items()}
        for name, each in measurements.items():
            each.check_made_from("candidate", parents[name])
        report = DeviceReport(device=request.device, candidates=findings(measurements))
        if examples_of(request.evaluators) != 0:
            # TensorFlow Model Analysis takes seconds to import. A cached run skips that.
            from components.device_check.metrics import with_metrics
            from components.predict.artifact import Predictions

            baseline, floats = verified(inputs["baseline"]), Predictions(verified(inputs[PREDICTIONS]))
            folder, split = Path(inputs["examples"].uri), request.evaluation.split
            parents |= {"examples": content_digest(folder / f"Split-{split}"), "baseline": baseline.manifest.sha256}
            floats.check_made_from("model", parents["baseline"])
            for each in measurements.values():
                each.check_made_from("baseline", floats.artifact.manifest.sha256)
            report = with_metrics(
                report,
                measurements,
                split_files(str(folder), split),
                baseline=baseline.folder / SERVING_FOLDER,
                floats=floats.stored,
                spec=request.evaluation,
                label=request.label,
                task=exec_properties["task"],
                transform_graph=inputs["transform_graph"].uri if "transform_graph" in inputs else None,
            )
            baseline.check()
            floats.artifact.check()
        parents |= {predictions_of(name): each.artifact.manifest.sha256 for name, each in measurements.items()}
        for artifact in (*candidates.values(), *(one.artifact for one in measurements.values())):
            artifact.check()
        facts = artifact_utils.get_single_instance(output_dict["facts"])
        write_atomically(Path(facts.uri) / DEVICE_REPORT_FILE, serialized(report))
        version = exec_properties["code_version"]
        manifest = write_manifest(
            Path(facts.uri), DEVICE_REPORT_FILE, role="device_check", parents=parents, code_version=version
        )
        failures = [failure for candidate in report.candidates for failure in candidate.failures]
        figures = {f"{one.name}.{what}": value for one in report.candidates for what, value in one.figures.items()}
        describe(
            facts,
            manifest,
            device=request.device,
            evaluators=" ".join(each.kind for each in request.evaluators),
            failures=len(failures),
            transient=int(any(failure.transient for failure in failures)),
            **figures,
        )


class DeviceCheckSpec(component_spec.ComponentSpec):
    """The interface that all device checks share.

    `candidate_node` adds an input for each candidate, and one for its measurement. If a tool runs files, their outputs
    are compared with `predictions`, the predictions of the baseline. `spec` is the JSON of a `DeviceCheckRequest`.
    """

    PARAMETERS = {
        name: component_spec.ExecutionParameter(type=str)
        for name in ("spec", "recipes", "task", "task_version", "code_version")
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
        "baseline": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        PREDICTIONS: component_spec.ChannelParameter(type=standard_artifacts.InferenceResult, optional=True),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
    }
    OUTPUTS = {"facts": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class DeviceCheck(base_component.BaseComponent):
    """Combines the measurements of a device's tools on all candidates, and evaluates the outputs of these tools."""

    SPEC_CLASS = DeviceCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(DeviceCheckExecutor)
