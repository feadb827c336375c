"""TFX component of the last node on Kubeflow: summarizes a run's artifacts for the pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, OutputChannel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.core.files import write_atomically
from components.core.values import FrozenModel
from components.facts.artifact_paths import DEVICE_REPORT_FILE, TRAINING_FILE
from components.facts.audit import AuditReport
from components.facts.decision import Decision
from components.facts.device import DeviceReport
from components.facts.evaluation import EvaluationReport
from components.facts.training import TrainingReport, named_by_recipes
from components.facts.verified import verified
from components.push.delivery import PushOutcome
from components.spec.devices.device import DeviceProfile
from components.spec.recipe import STEP_KINDS
from kubeflow.pages.ui import candidate_metrics, verdict_markdown
from kubeflow.pages.ui_artifacts import HTML, Markdown, Metrics
from pipelines.report.render import render_report
from pipelines.report.summary import RunSummary

_METRICS = "metrics_"


class ReportRequest(FrozenModel):
    """The node's `spec` parameter.

    Attributes:
        pipeline: Name of the pipeline.
        devices: Device profiles.
        recipes: ID of a training node -> names of the recipes that use it.
    """

    pipeline: str
    devices: tuple[DeviceProfile, ...]
    recipes: dict[str, tuple[str, ...]] = {}


class RunReportExecutor(base_executor.BaseExecutor):
    """Writes the report and the verdict as files, and metrics as properties."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """See the class."""
        request = ReportRequest.model_validate_json(exec_properties["spec"])
        artifacts = {name: artifact_utils.get_single_instance(each) for name, each in input_dict.items() if each}
        report = artifact_utils.get_single_instance(output_dict["report"])
        summary = summarize_artifacts(request, artifacts, run_id=_run_of(report.uri))
        write_atomically(Path(report.uri), render_report(summary).encode())
        verdict = artifact_utils.get_single_uri(output_dict["verdict"])
        write_atomically(Path(verdict), verdict_markdown(summary).encode())
        if summary.evaluation is None:
            return
        for candidate in summary.evaluation.candidates:
            figures = artifact_utils.get_single_instance(output_dict[_METRICS + candidate.name])
            for name, value in candidate_metrics(candidate, summary.evaluation).items():
                figures.set_float_custom_property(name, value)


def summarize_artifacts(request: ReportRequest, artifacts: Mapping[str, Any], run_id: str) -> RunSummary:
    """Summarize a run from its artifacts alone. The cluster's pages show nodes and lineage.

    Args:
        request: The pipeline and its devices.
        artifacts: Input name -> artifact, or the artifact's folder.
        run_id: ID of the run.
    """

    def read(prefix: str, file: str, kind: Any) -> tuple[Any, ...]:
        read = [verified(artifact) for name, artifact in artifacts.items() if name.startswith(prefix)]
        return tuple(kind.model_validate_json(one.read(file)) for one in read if file in one.manifest.files)

    releases = read("pushed_", "push.json", PushOutcome)
    return RunSummary(
        pipeline=request.pipeline,
        run_id=run_id,
        started=datetime.now(timezone.utc),
        verdict="pushed" if any(release.pushed for release in releases) else "refused",
        evaluation=next(iter(read("evaluation", "report.json", EvaluationReport)), None),
        trainings=tuple(
            training
            for kind in STEP_KINDS
            for training in named_by_recipes(read(f"trained_{kind}__", TRAINING_FILE, TrainingReport), request.recipes)
        ),
        on_devices=read("on_device_", DEVICE_REPORT_FILE, DeviceReport),
        decisions=read("blessing_", "decision.json", Decision),
        devices=request.devices,
        releases=releases,
        audit=next(iter(read("sample", "audit.json", AuditReport)), None),
    )


def _run_of(uri: str) -> str:
    # <root>/<pipeline>/<run>/<task>/<execution>/<output>
    parts = Path(uri).parts
    return parts[-4] if len(parts) > 4 else "unknown"


class RunReportSpec(ComponentSpec):
    """Common inputs and outputs. `run_report` adds inputs for devices and trainings, and outputs for candidates."""

    PARAMETERS = {"spec": ExecutionParameter(type=str), "code_version": ExecutionParameter(type=str)}
    INPUTS: dict[str, ChannelParameter] = {
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "sample": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS: dict[str, ChannelParameter] = {
        "report": ChannelParameter(type=HTML),
        "verdict": ChannelParameter(type=Markdown),
    }


class RunReport(base_component.BaseComponent):
    """Shows a run on the pages of Kubeflow Pipelines. Create it with `run_report`."""

    SPEC_CLASS = RunReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(RunReportExecutor)


def run_report(
    *,
    evaluation: BaseChannel,
    blessings: Mapping[str, BaseChannel],
    pushed: Mapping[str, BaseChannel],
    trained: Mapping[str, BaseChannel],
    on_devices: Mapping[str, BaseChannel],
    sample: BaseChannel | None,
    candidates: tuple[str, ...],
    request: ReportRequest,
    code_version: str,
) -> RunReport:
    """Create the node. Set its ID with `.with_id`.

    Args:
        evaluation: Channel of a ModelEvaluation.
        blessings: Device -> channel of the gate's ModelBlessing.
        pushed: Device -> channel of the PushedModel.
        trained: Node ID -> channel of a trained Model.
        on_devices: Device -> channel of the report of the device's tools, for devices that declare tools.
        sample: Channel of the calibration sample, if there is one.
        candidates: Names of the recipes.
        request: The pipeline and its devices.
        code_version: Version of this module's code.
    """
    kinds: dict[str, Any] = {}
    channels: dict[str, BaseChannel] = {}
    for prefix, kind, group in (
        ("blessing_", standard_artifacts.ModelBlessing, blessings),
        ("pushed_", standard_artifacts.PushedModel, pushed),
        ("trained_", standard_artifacts.Model, trained),
        ("on_device_", standard_artifacts.ModelEvaluation, on_devices),
    ):
        for name, channel in group.items():
            kinds[prefix + name] = ChannelParameter(type=kind)
            channels[prefix + name] = channel
    outputs = {_METRICS + name: ChannelParameter(type=Metrics) for name in candidates}
    added = {"INPUTS": {**RunReportSpec.INPUTS, **kinds}, "OUTPUTS": {**RunReportSpec.OUTPUTS, **outputs}}
    spec_class = type("RunReportSpec", (RunReportSpec,), added)
    if sample is not None:
        channels["sample"] = sample
    return RunReport(
        spec_class(
            evaluation=evaluation,
            spec=request.model_dump_json(),
            code_version=code_version,
            report=OutputChannel(HTML, None, "report"),
            verdict=OutputChannel(Markdown, None, "verdict"),
            **{name: OutputChannel(Metrics, None, name) for name in outputs},
            **channels,
        )
    )
