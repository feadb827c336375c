"""TFX component of the device check: Examples + N candidates -> the findings of one device's tools."""

import json
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.core.values import FrozenModel, serialized
from components.data.examples import ExampleDecoder, first_examples, split_files
from components.device_check.check import check_candidates
from components.facts.artifact_paths import DEVICE_REPORT_FILE, SERVING_FOLDER
from components.facts.manifest import describe, write_manifest
from components.facts.verified import verified
from components.spec.devices.device_tools import DeviceEvaluator, RuntimesEvaluator, TflmEvaluator
from components.spec.evaluate import EvaluationSpec
from components.tfx.candidate_inputs import input_of


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
        """Check the candidates. The report lists them in the order of the property `recipes`."""
        request = DeviceCheckRequest.model_validate_json(exec_properties["spec"])
        folders = {name: Path(artifact_utils.get_single_uri(each)) for name, each in input_dict.items() if each}
        candidates = {
            name: verified(artifact_utils.get_single_instance(input_dict[input_of(name)]))
            for name in json.loads(exec_properties["recipes"])
        }
        parents = {name: candidate.manifest.sha256 for name, candidate in candidates.items()}
        counts = [each.examples for each in request.evaluators if isinstance(each, TflmEvaluator | RuntimesEvaluator)]
        if not counts:
            report, _ = check_candidates(request.device, request.evaluators, candidates, None)
        else:
            # TensorFlow Model Analysis takes seconds to import. A cached run skips that.
            from components.device_check.metrics import with_metrics

            baseline = verified(artifact_utils.get_single_instance(input_dict["baseline"]))
            split, task = request.evaluation.split, exec_properties["task"]
            graph = str(folders["transform_graph"]) if "transform_graph" in folders else None
            examples = first_examples(
                split_files(str(folders["examples"]), split),
                None if "all" in counts else max(count for count in counts if count != "all"),
                "run on the device's runtime",
            )
            inputs = ExampleDecoder(task, graph).decode(examples)[0]
            report, outputs = check_candidates(request.device, request.evaluators, candidates, inputs)
            report = with_metrics(
                report,
                outputs,
                examples,
                baseline=baseline.folder / SERVING_FOLDER,
                spec=request.evaluation,
                label=request.label,
                task=task,
                transform_graph=graph,
            )
            baseline.check()
            parents |= {
                "examples": content_digest(folders["examples"] / f"Split-{split}"),
                "baseline": baseline.manifest.sha256,
            }
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
    """The interface that all device checks share. `candidate_node` adds one named input per candidate.

    If a tool runs files, it runs them on the first examples, and they are compared with the baseline. `spec` is the
    JSON of a `DeviceCheckRequest`. A new value of `retry` bypasses the cache, to repeat an execution whose outcome was
    transient.
    """

    PARAMETERS = {
        name: component_spec.ExecutionParameter(type=str)
        for name in ("spec", "recipes", "task", "task_version", "code_version", "retry")
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "baseline": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
    }
    OUTPUTS = {"facts": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class DeviceCheck(base_component.BaseComponent):
    """Runs one device's tools on all candidates."""

    SPEC_CLASS = DeviceCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(DeviceCheckExecutor)
