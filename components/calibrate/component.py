"""TFX components of calibration: Examples -> audited Examples with a single split, `calibration`."""

from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, OutputChannel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.calibrate.audit import refuse_errors
from components.calibrate.draw import draw_and_audit
from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.core.values import serialized
from components.data.examples import split_files
from components.facts.artifact_paths import CALIBRATION_SPLIT
from components.facts.audit import AuditReport
from components.facts.manifest import describe, write_manifest
from components.facts.verified import verified
from components.spec.calibrate import CalibrationSpec
from components.upstream.tfx.dsl import InputArtifact, Parameter, component
from components.upstream.tfx.executors import pipeline_maker

AUDIT_FILE = "audit.json"
# Properties that ExampleGen sets on its output. With them, any TFX component can read the sample.
_FORMAT_PROPERTIES = ("file_format", "payload_format")


class CalibrationSamplerExecutor(base_beam_executor.BaseBeamExecutor):
    """Writes `Split-calibration/`, `audit.json` (an AuditReport), and `manifest.json`."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """Draw and audit the sample. `CalibrationAudit` acts on the findings."""
        spec = CalibrationSpec.model_validate_json(exec_properties["spec"])
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        sample = artifact_utils.get_single_instance(output_dict["sample"])
        folder, content = Path(sample.uri), f"Split-{CALIBRATION_SPLIT}"
        graphs = input_dict.get("transform_graph")
        audit = draw_and_audit(
            pipeline_maker(self),
            spec,
            split_files=split_files(examples.uri, spec.split),
            evaluation_files=split_files(examples.uri, exec_properties["eval_split"]),
            task=exec_properties["task"],
            transform_graph=artifact_utils.get_single_uri(graphs) if graphs else None,
            label=exec_properties["label"],
            max_overlap=float(exec_properties["max_overlap"]),
            output=folder / content / "data_tfrecord-00000-of-00001.gz",
        )
        write_atomically(folder / AUDIT_FILE, serialized(audit))
        sample.split_names = artifact_utils.encode_split_names([CALIBRATION_SPLIT])
        sample.span, sample.version = examples.span, examples.version
        for name in _FORMAT_PROPERTIES:
            sample.set_string_custom_property(name, examples.get_string_custom_property(name))
        parents = {"examples": content_digest(Path(examples.uri, f"Split-{spec.split}"))}
        if graphs:
            parents["transform_graph"] = content_digest(Path(artifact_utils.get_single_uri(graphs)))
        version = exec_properties["code_version"]
        manifest = write_manifest(folder, content, role="calibration", parents=parents, code_version=version)
        counts = {"taken": audit.taken, "available": audit.available, "findings": len(audit.findings)}
        describe(sample, manifest, seed=audit.seed, **counts)


class CalibrationSamplerSpec(ComponentSpec):
    """Inputs, outputs, and parameters of a CalibrationSampler."""

    PARAMETERS = {
        name: ExecutionParameter(type=str)
        for name in ("spec", "task", "label", "eval_split", "max_overlap", "task_version", "code_version")
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
    }
    OUTPUTS = {"sample": ChannelParameter(type=standard_artifacts.Examples)}


class CalibrationSampler(base_beam_component.BaseBeamComponent):
    """Draws a representative dataset from one split."""

    SPEC_CLASS = CalibrationSamplerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(CalibrationSamplerExecutor)

    def __init__(self, examples: BaseChannel, transform_graph: BaseChannel | None = None, **parameters: str) -> None:
        """Create a sampler. Set its id with `.with_id`.

        Args:
            examples: Channel of one Examples artifact.
            transform_graph: Channel of the TransformGraph that the examples went through, if any.
            parameters: `spec` (a CalibrationSpec as JSON), `task`, `label`, `eval_split`, `max_overlap`,
                `task_version`, and `code_version`.
        """
        optional = {} if transform_graph is None else {"transform_graph": transform_graph}
        sample = OutputChannel(standard_artifacts.Examples, self, "sample")
        super().__init__(CalibrationSamplerSpec(examples=examples, sample=sample, **optional, **parameters))


@component
def CalibrationAudit(sample: InputArtifact[standard_artifacts.Examples], code_version: Parameter[str]) -> None:  # noqa: ARG001
    """Stops the run if a sample's audit has a finding of severity error.

    This is a separate node because TFX deletes the outputs of a failed node, and the report must show the audit.
    """
    refuse_errors(AuditReport.model_validate_json(verified(sample).read(AUDIT_FILE)))
