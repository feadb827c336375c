"""TFX component of evaluation: Examples + baseline + N candidates -> ModelEvaluation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.data.examples import split_files
from components.facts.manifest import describe, write_manifest
from components.facts.verified import Verified, verified
from components.spec.evaluate import EvaluationSpec
from components.tfx.candidate_inputs import input_of, with_candidates
from components.upstream.tfx.executors import pipeline_maker

REPORT_FILE = "report.json"


class EvaluatorExecutor(base_beam_executor.BaseBeamExecutor):
    """Writes TFMA's files, `report.json` (`components.facts.evaluation.EvaluationReport`), and `manifest.json`."""

    def Do(
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluate the models. The report lists candidates in the order of the property `recipes`."""
        # TensorFlow Model Analysis takes seconds to import. A cached run skips that.
        from components.evaluate.assess import assess

        spec = EvaluationSpec.model_validate_json(exec_properties["spec"])
        folders = {name: Path(artifact_utils.get_single_uri(each)) for name, each in input_dict.items() if each}
        baseline, float_reference = (_input(input_dict, name) for name in ("baseline", "float_reference"))
        candidates = {name: _input(input_dict, input_of(name)) for name in json.loads(exec_properties["recipes"])}
        models = {"baseline": baseline, "float_reference": float_reference, **candidates}
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        output = Path(evaluation.uri)
        report = assess(
            files=split_files(str(folders["examples"]), spec.split),
            baseline=baseline,
            float_reference=float_reference,
            candidates=tuple(candidates.values()),
            spec=spec,
            label=exec_properties["label"],
            task=exec_properties["task"],
            output=output,
            transform_graph=str(folders["transform_graph"]) if "transform_graph" in folders else None,
            make_pipeline=pipeline_maker(self),
        )
        write_atomically(output / REPORT_FILE, report.model_dump_json(indent=2).encode() + b"\n")
        manifest = write_manifest(
            output,
            REPORT_FILE,
            role="evaluation",
            parents={
                "examples": content_digest(folders["examples"] / f"Split-{spec.split}"),
                **{name: model.manifest.sha256 for name, model in models.items()},
            },
            code_version=exec_properties["code_version"],
        )
        noisy = any(candidate.latency is not None and candidate.latency.transient for candidate in report.candidates)
        describe(evaluation, manifest, examples=report.baseline_slices[0].examples, transient=int(noisy))


def _input(input_dict: dict[str, list[Any]], name: str) -> Verified:
    return verified(artifact_utils.get_single_instance(input_dict[name]))


class EvaluatorSpec(component_spec.ComponentSpec):
    """The interface that all evaluators share. `evaluator` adds one named input per candidate."""

    PARAMETERS = {
        name: component_spec.ExecutionParameter(type=str)
        for name in ("spec", "recipes", "task", "label", "task_version", "code_version", "retry")
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "baseline": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "float_reference": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
    }
    OUTPUTS = {"evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class Evaluator(base_beam_component.BaseBeamComponent):
    """Evaluates the float baseline and all candidates in one pass over the examples. Created by `evaluator`."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)


def evaluator(
    *,
    examples: types.BaseChannel,
    baseline: types.BaseChannel,
    float_reference: types.BaseChannel,
    candidates: Mapping[str, types.BaseChannel],
    transform_graph: types.BaseChannel | None = None,
    spec: str,
    task: str,
    label: str,
    task_version: str,
    code_version: str,
    retry: str = "",
) -> Evaluator:
    """Create an evaluator. Set its id with `.with_id`.

    Args:
        examples: Channel of one Examples artifact with the split to evaluate on.
        baseline: Channel of the float Model: a SavedModel in `Format-Serving`.
        float_reference: Channel of a Model with the baseline as a float32 TFLite file, the reference for sizes and
            times. It can be one of the candidates.
        candidates: Recipe name -> channel of one Model. Each is a separate input, because one channel of N artifacts
            doesn't work on Kubeflow.
        transform_graph: Channel of the TransformGraph that the examples went through, if any.
        spec: JSON of an `EvaluationSpec`.
        task: Reference of the task, `package.module:NAME`.
        label: Feature that the metrics compare predictions with.
        task_version: `components.core.version.code_version` of the task's module.
        code_version: `components.core.version.code_version("components.evaluate.component")`.
        retry: A new value bypasses the cache, to repeat an execution whose outcome was transient.
    """
    spec_class, named = with_candidates(EvaluatorSpec, candidates)
    if transform_graph is not None:
        named["transform_graph"] = transform_graph
    return Evaluator(
        spec_class(
            examples=examples,
            baseline=baseline,
            float_reference=float_reference,
            spec=spec,
            # TFX returns the inputs of an execution in no particular order.
            recipes=json.dumps(list(candidates)),
            task=task,
            label=label,
            task_version=task_version,
            code_version=code_version,
            retry=retry,
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            **named,
        )
    )
