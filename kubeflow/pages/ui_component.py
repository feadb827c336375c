"""TFX component of the last node on Kubeflow: summarizes a run's artifacts for the pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import OutputChannel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.core.files import write_atomically
from components.core.values import FrozenModel
from components.facts.verified import verified
from components.spec.devices.device import DeviceProfile
from kubeflow.pages.ui import candidate_metrics, verdict_markdown
from pipelines.file.load import SkippedRecipe
from pipelines.graph.steps import BASELINE_NODE
from pipelines.report.render import render_report
from pipelines.report.summary import RunSummary, V, results

_METRICS = "metrics_"
# `edgemill push` needs the metadata of a local run.
_FINISH_PUSH = "clone this run: finished nodes come from the cache, and the push is tried again"
# Output of a node -> beginning of the names of the inputs that read it.
_INPUTS = {
    "blessing": "blessing_",
    "pushed": "pushed_",
    "trained": "trained_",
    "facts": "on_device_",
    "explanation": "explanation_",
}


class HTML(Artifact):
    """A file that the pages show as HTML."""

    TYPE_NAME = "system.HTML"


class Markdown(Artifact):
    """A file that the pages show as formatted text."""

    TYPE_NAME = "system.Markdown"


class Metrics(Artifact):
    """Metrics, as custom properties. There is no file."""

    TYPE_NAME = "system.Metrics"


class ReportRequest(FrozenModel):
    """The node's `spec` parameter.

    Attributes:
        pipeline: Name of the pipeline.
        devices: Device profiles.
        recipes: ID of a node that has a digest -> names of the recipes that use it.
        skipped: Recipes of the pipeline file that cannot work on the model, and why.
    """

    pipeline: str
    devices: tuple[DeviceProfile, ...]
    recipes: dict[str, tuple[str, ...]] = {}
    skipped: tuple[SkippedRecipe, ...] = ()


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
    """Summarize a run from its artifacts (or their folders) by input name. The cluster shows nodes and lineage."""

    def read(node: str, output: str, file: str, kind: type[V]) -> tuple[V, ...]:
        prefix = _INPUTS.get(output, output) + (node if output == "trained" else "")
        found = [verified(artifact) for name, artifact in artifacts.items() if name.startswith(prefix)]
        return tuple(kind.model_validate_json(one.read(file)) for one in found if file in one.manifest.files)

    return RunSummary(
        pipeline=request.pipeline,
        run_id=run_id,
        started=datetime.now(timezone.utc),
        devices=request.devices,
        skipped=request.skipped,
        finish_push=_FINISH_PUSH,
        **results(read, request.recipes),
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
        "model": ChannelParameter(type=standard_artifacts.Model),
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
    nodes: Mapping[str, BaseNode], candidates: tuple[str, ...], request: ReportRequest, code_version: str
) -> RunReport:
    """Create the node, which reads the results of the other nodes. Set its ID with `.with_id`.

    `candidates` are the names of the recipes, and `code_version` is the code version of this module.
    """
    channels = {
        prefix + (name if output == "trained" else name.partition("__")[2]): node.outputs[output]
        for output, prefix in _INPUTS.items()
        for name, node in nodes.items()
        if output in node.outputs
    }
    inputs = {name: ChannelParameter(type=channel.type) for name, channel in channels.items()}
    outputs = {_METRICS + name: ChannelParameter(type=Metrics) for name in candidates}
    added = {"INPUTS": {**RunReportSpec.INPUTS, **inputs}, "OUTPUTS": {**RunReportSpec.OUTPUTS, **outputs}}
    spec_class = type("RunReportSpec", (RunReportSpec,), added)
    if "calibrate" in nodes:
        channels["sample"] = nodes["calibrate"].outputs["sample"]
    return RunReport(
        spec_class(
            evaluation=nodes["evaluate"].outputs["evaluation"],
            model=nodes[BASELINE_NODE].outputs["model"],
            spec=request.model_dump_json(),
            code_version=code_version,
            report=OutputChannel(HTML, None, "report"),
            verdict=OutputChannel(Markdown, None, "verdict"),
            **{name: OutputChannel(Metrics, None, name) for name in outputs},
            **channels,
        )
    )
