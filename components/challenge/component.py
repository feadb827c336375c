"""TFX component of a challenge: a champion + N candidates' predictions -> a comparison of the candidates with it."""

from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.core.values import FrozenModel, serialized
from components.data.examples import split_files
from components.facts.artifact_paths import CHALLENGE_FILE, CHAMPION_FILE
from components.facts.champion import Champion
from components.facts.manifest import describe, write_manifest
from components.facts.verified import verified
from components.predict.artifact import Predictions
from components.spec.evaluate import EvaluationSpec
from components.tfx.candidate_inputs import MEASURED, further_of, predictions_of
from components.upstream.tfx.executors import pipeline_maker


class ChallengeRequest(FrozenModel):
    """The `spec` parameter of a challenge.

    Attributes:
        recipes: Names of the recipes, in the order of the report.
        evaluation: Metrics and slices, as for the evaluation of the candidates.
        label: The feature that metrics compare predictions with if the task declares no targets.
    """

    recipes: tuple[str, ...]
    evaluation: EvaluationSpec
    label: str


class ChallengerExecutor(base_beam_executor.BaseBeamExecutor):
    """Writes `challenge.json` (a `components.facts.champion.Challenge`) and `manifest.json`."""

    def Do(
        self, input_dict: dict[str, list[Any]], output_dict: dict[str, list[Any]], exec_properties: dict[str, Any]
    ) -> None:
        """Compare the candidates with the champion."""
        # TensorFlow Model Analysis takes seconds to import. A cached run skips that.
        from components.challenge.challenge import challenged
        from components.device_check.measure.measurement import Measurement

        request = ChallengeRequest.model_validate_json(exec_properties["spec"])
        inputs = {name: artifact_utils.get_single_instance(each) for name, each in input_dict.items() if each}
        examples = Path(inputs["examples"].uri)
        digest = content_digest(examples / f"Split-{request.evaluation.split}")
        champion, baseline = verified(inputs["champion"]), verified(inputs["baseline"])
        of_champion = Predictions(verified(inputs["of_champion"]))
        of_champion.check_made_from("model", champion.manifest.sha256)
        named = {name: Predictions(verified(inputs[predictions_of(name)])) for name in request.recipes}
        for each in (of_champion, *named.values()):
            each.check_made_from("examples", digest)
        measured = None
        there: dict[str, Measurement] = {}
        if "champion_measurement" in inputs:
            own = {name: Measurement(verified(inputs[further_of(MEASURED, name)])) for name in request.recipes}
            its = Measurement(verified(inputs["champion_measurement"]))
            its.check_made_from("candidate", champion.manifest.sha256)
            measured = its, own
            there = {further_of(MEASURED, name): one for name, one in own.items()} | {"champion_measurement": its}
            for measurement in there.values():
                measurement.check_made_from("examples", digest)
        found = challenged(
            Champion.model_validate_json(champion.read(CHAMPION_FILE)),
            of_champion,
            named,
            measured,
            files=split_files(str(examples), request.evaluation.split),
            baseline=baseline,
            spec=request.evaluation,
            label=request.label,
            task=exec_properties["task"],
            transform_graph=inputs["transform_graph"].uri if "transform_graph" in inputs else None,
            make_pipeline=pipeline_maker(self),
        )
        stored = [each.artifact for each in (of_champion, *named.values())]
        for artifact in (champion, baseline, *stored, *(each.artifact for each in there.values())):
            artifact.check()
        challenge = artifact_utils.get_single_instance(output_dict["challenge"])
        write_atomically(Path(challenge.uri) / CHALLENGE_FILE, serialized(found))
        manifest = write_manifest(
            Path(challenge.uri),
            CHALLENGE_FILE,
            role="challenge",
            parents={
                "champion": champion.manifest.sha256,
                "of_champion": of_champion.artifact.manifest.sha256,
                "baseline": baseline.manifest.sha256,
                "examples": digest,
                **{predictions_of(name): each.artifact.manifest.sha256 for name, each in named.items()},
                **{name: each.artifact.manifest.sha256 for name, each in there.items()},
            },
            code_version=exec_properties["code_version"],
        )
        known = found.champion
        describe(challenge, manifest, device=known.device, champion=known.sha256 or "", version=known.version or "")


class ChallengerSpec(component_spec.ComponentSpec):
    """The interface that all challenges share. `candidate_node` adds the predictions of each candidate.

    `of_champion` has the predictions of `champion`, and `baseline` is the float model. For a device with TensorFlow
    Lite Micro, `champion_measurement` has the champion's outputs there, and each candidate has another input for its
    own outputs. `spec` is the JSON of a `ChallengeRequest`.
    """

    PARAMETERS = {
        name: component_spec.ExecutionParameter(type=str) for name in ("spec", "task", "task_version", "code_version")
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "baseline": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "champion": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "of_champion": component_spec.ChannelParameter(type=standard_artifacts.InferenceResult),
        "champion_measurement": component_spec.ChannelParameter(type=standard_artifacts.InferenceResult, optional=True),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
    }
    OUTPUTS = {"challenge": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class Challenger(base_beam_component.BaseBeamComponent):
    """Evaluates the stored predictions of the champion and all candidates in one pass over the examples."""

    SPEC_CLASS = ChallengerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(ChallengerExecutor)
