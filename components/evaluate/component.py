"""TFX component of evaluation: Examples + baseline + N candidates + their predictions -> ModelEvaluation."""

import json
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.core.values import serialized
from components.data.examples import split_files
from components.evaluate.latency.artifact import latency_of
from components.facts.manifest import describe, write_manifest
from components.facts.verified import Verified, verified
from components.predict.artifact import Predictions
from components.spec.evaluate import EvaluationSpec
from components.tfx.candidate_inputs import LATENCY, PREDICTIONS, further_of, input_of, predictions_of
from components.upstream.tfx.executors import pipeline_maker

REPORT_FILE = "report.json"


class EvaluatorExecutor(base_beam_executor.BaseBeamExecutor):
    """Writes TFMA's files, `report.json` (`components.facts.evaluation.EvaluationReport`), and `manifest.json`."""

    def Do(
        self, input_dict: dict[str, list[Any]], output_dict: dict[str, list[Any]], exec_properties: dict[str, Any]
    ) -> None:
        """Evaluate the models. The report lists candidates in the order of the property `recipes`."""
        # TensorFlow Model Analysis takes seconds to import. A cached run skips that.
        from components.evaluate.assess import assess

        spec = EvaluationSpec.model_validate_json(exec_properties["spec"])
        folders = {name: Path(artifact_utils.get_single_uri(each)) for name, each in input_dict.items() if each}
        baseline, float_reference = (_input(input_dict, name) for name in ("baseline", "float_reference"))
        candidates = {name: _input(input_dict, input_of(name)) for name in json.loads(exec_properties["recipes"])}
        names = [PREDICTIONS, *map(predictions_of, candidates)]
        predictions = {name: Predictions(_input(input_dict, name)) for name in names}
        examples = content_digest(folders["examples"] / f"Split-{spec.split}")
        for each in predictions.values():
            each.check_made_from("examples", examples)
        timed = {name: _input(input_dict, further_of(LATENCY, name)) for name in candidates}
        models = {"baseline": baseline, "float_reference": float_reference, **candidates}
        models |= {name: each.artifact for name, each in predictions.items()}
        models |= {further_of(LATENCY, name): each for name, each in timed.items()}
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        output = Path(evaluation.uri)
        report = assess(
            files=split_files(str(folders["examples"]), spec.split),
            baseline=baseline,
            float_reference=float_reference,
            candidates=candidates,
            predictions=tuple(predictions.values()),
            latencies={name: latency_of(timed[name], candidate) for name, candidate in candidates.items()},
            spec=spec,
            label=exec_properties["label"],
            task=exec_properties["task"],
            output=output,
            transform_graph=str(folders["transform_graph"]) if "transform_graph" in folders else None,
            make_pipeline=pipeline_maker(self),
        )
        write_atomically(output / REPORT_FILE, serialized(report))
        manifest = write_manifest(
            output,
            REPORT_FILE,
            role="evaluation",
            parents={
                "examples": examples,
                **{name: model.manifest.sha256 for name, model in models.items()},
            },
            code_version=exec_properties["code_version"],
        )
        describe(evaluation, manifest, examples=report.baseline_slices[0].examples)


def _input(input_dict: dict[str, list[Any]], name: str) -> Verified:
    return verified(artifact_utils.get_single_instance(input_dict[name]))


class EvaluatorSpec(component_spec.ComponentSpec):
    """The interface that all evaluators share. `candidate_node` adds three named inputs per candidate.

    They are the candidate, its predictions, and its latency. `predictions` are the baseline's.

    `float_reference` is a Model with the baseline as a float32 TFLite file, the reference for sizes. It can be one of
    the candidates. `spec` is the JSON of an `EvaluationSpec`, and `label` the feature that the metrics compare
    predictions with.
    """

    PARAMETERS = {
        name: component_spec.ExecutionParameter(type=str)
        for name in ("spec", "recipes", "task", "label", "task_version", "code_version")
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "baseline": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "float_reference": component_spec.ChannelParameter(type=standard_artifacts.Model),
        PREDICTIONS: component_spec.ChannelParameter(type=standard_artifacts.InferenceResult),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
    }
    OUTPUTS = {"evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class Evaluator(base_beam_component.BaseBeamComponent):
    """Evaluates the stored predictions of the float baseline and all candidates in one pass over the examples."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)
