"""TFX component of the gate: evaluation + candidates -> ModelBlessing + the chosen Model."""

import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.core.errors import UnblessedError
from components.core.files import sha256_of_bytes, write_atomically
from components.core.values import FrozenModel, serialized
from components.facts.artifact_paths import (
    BASELINE_SLICES_FILE,
    CHALLENGE_FILE,
    DEVICE_REPORT_FILE,
    OUTCOME_FILE,
    TFLITE_FILE,
    TFLM_FILE,
)
from components.facts.champion import Challenge
from components.facts.decision import Decision
from components.facts.device import DeviceReport, TflmFacts
from components.facts.evaluation import BaselineSlices, CandidateReport, EvaluationReport
from components.facts.manifest import Manifest, describe, write_manifest
from components.facts.verified import Verified, verified
from components.gate.policy import decide
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec
from components.tfx.candidate_inputs import candidate_names, input_of


class GateRequest(FrozenModel):
    """The `spec` parameter of a gate node.

    Attributes:
        device: The device to decide for.
        policy: The bounds and the preference.
        less_is_better: Whether smaller values of the policy's first metric are better; None if unknown.
        directions: Metric -> the same, for all metrics for which it is known.
    """

    device: DeviceProfile
    policy: GateSpec
    less_is_better: bool | None = None
    directions: dict[str, bool] = {}


class GateExecutor(base_executor.BaseExecutor):
    """Decides for one device. A refusal isn't a failure: it gives `NOT_BLESSED`, with reasons in `decision.json`."""

    def Do(
        self, input_dict: dict[str, list[Any]], output_dict: dict[str, list[Any]], exec_properties: dict[str, Any]
    ) -> None:
        """Write `blessing` and `chosen`.

        Raises:
            TamperedError: An artifact has changed since it was written.
            UnblessedError: The chosen candidate's bytes aren't the evaluated bytes.
        """
        request = GateRequest.model_validate_json(exec_properties["spec"])
        version = exec_properties["code_version"]
        evaluation = verified(artifact_utils.get_single_instance(input_dict["evaluation"]))
        report = EvaluationReport.model_validate_json(evaluation.read("report.json"))
        candidates = {
            name: artifact_utils.get_single_instance(input_dict[input_of(name)]) for name in candidate_names(input_dict)
        }
        on_device = None
        parents = {"evaluation": evaluation.manifest.sha256}
        data = {name: digest for name, digest in evaluation.manifest.parents.items() if name == "examples"}
        if input_dict.get("on_device"):
            facts_there = verified(artifact_utils.get_single_instance(input_dict["on_device"]))
            on_device = DeviceReport.model_validate_json(facts_there.read(DEVICE_REPORT_FILE))
            parents["on_device"] = facts_there.manifest.sha256
        challenge = None
        if input_dict.get("challenge"):
            against = verified(artifact_utils.get_single_instance(input_dict["challenge"]))
            challenge = Challenge.model_validate_json(against.read(CHALLENGE_FILE))
            parents["challenge"] = against.manifest.sha256
        decision = decide(
            report,
            request.device,
            request.policy,
            request.less_is_better,
            on_device,
            challenge,
            request.directions,
        )
        logging.getLogger(__name__).info("%s: %s: %s", decision.device, decision.verdict, decision.why)
        winner = candidates[decision.chosen] if decision.chosen is not None else None

        chosen = artifact_utils.get_single_instance(output_dict["chosen"])
        facts = next((candidate for candidate in report.candidates if candidate.name == decision.chosen), None)
        if winner is not None and facts is not None:
            baseline = serialized(BaselineSlices(slices=tuple(one.shown for one in report.baseline_slices)))
            write_atomically(Path(chosen.uri) / BASELINE_SLICES_FILE, baseline)
            manifest = _write_chosen(verified(winner), facts, Path(chosen.uri), {**data, **parents}, version, on_device)
        else:
            _write_decision(Path(chosen.uri), decision)
            manifest = write_manifest(
                Path(chosen.uri), "decision.json", role="chosen", parents=parents, code_version=version
            )
        properties = {"device": decision.device, "verdict": decision.verdict, "chosen": decision.chosen or ""}
        describe(chosen, manifest, **properties)

        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        folder = Path(blessing.uri)
        _write_decision(folder, decision)
        # The mark and the properties equal those of TFX's Evaluator, so that TFX's Pusher and latest-blessed-model
        # resolver can read them. Their names are in tfx/components/evaluator/constants.py, which is slow to import.
        write_atomically(folder / ("NOT_BLESSED" if winner is None else "BLESSED"), b"")
        if winner is not None:
            properties["current_model"] = winner.uri
            blessing.set_int_custom_property("current_model_id", winner.id)
            parents["candidate"] = manifest.sha256
        describe(
            blessing,
            write_manifest(folder, "decision.json", role="decision", parents=parents, code_version=version),
            blessed=int(winner is not None),
            **properties,
        )


def _write_decision(folder: Path, decision: Decision) -> None:
    write_atomically(folder / "decision.json", serialized(decision))


def _write_chosen(
    candidate: Verified,
    facts: CandidateReport,
    folder: Path,
    parents: dict[str, str],
    version: str,
    on_device: DeviceReport | None,
) -> Manifest:
    content = candidate.read(TFLITE_FILE)
    found = sha256_of_bytes(content)
    if found != facts.sha256:
        raise UnblessedError(
            f"the file of candidate {facts.name!r} is not the one that was evaluated",
            where=str(candidate.folder / TFLITE_FILE),
            bound=f"sha256 {facts.sha256}",
            measured=found,
            remedy="find out what changed the artifact, then run the conversion and the evaluation again",
        )
    write_atomically(folder / TFLITE_FILE, content)
    write_atomically(folder / OUTCOME_FILE, serialized(facts.outcome))
    shown = facts.model_copy(update={"slices": tuple(one.shown for one in facts.slices)})
    write_atomically(folder / "facts.json", serialized(shown))
    measured = None if on_device is None else on_device.of(facts.name)
    if measured is not None and isinstance(measured.tflm, TflmFacts) and measured.sha256 == found:
        write_atomically(folder / TFLM_FILE, serialized(measured.tflm))
    origin = candidate.manifest
    return write_manifest(
        folder,
        TFLITE_FILE,
        role="chosen",
        recipe=facts.recipe.model_dump(mode="json"),
        # Includes the candidate's parents, so that a release can be traced without the metadata store.
        parents={**origin.parents, **parents, "candidate": origin.sha256},
        code_version=version,
        streaming=origin.streaming,
    )


class GateComponentSpec(component_spec.ComponentSpec):
    """The interface that all gates share. `candidate_node` adds one named input per candidate.

    Inputs are one ModelEvaluation with a `report.json`; this device's device check, which a profile without evaluators
    lacks; and how the candidates compare with its champion, if the policy compares them. `spec` is the JSON of a
    `GateRequest`.
    """

    PARAMETERS = {
        "spec": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "on_device": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation, optional=True),
        "challenge": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation, optional=True),
    }
    OUTPUTS = {
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "chosen": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class Gate(base_component.BaseComponent):
    """Blesses the best candidate for one device, or none."""

    SPEC_CLASS = GateComponentSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(GateExecutor)
