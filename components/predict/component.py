"""TFX component of prediction: Examples + one model -> its outputs for each example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.types.channel import Channel

from components.data.examples import split_files
from components.facts.artifact_paths import PREDICTIONS_FOLDER
from components.facts.verified import verified, write_result
from components.spec.prediction import PredictionSpec
from components.upstream.tfx.executors import pipeline_maker


class PredictorExecutor(base_beam_executor.BaseBeamExecutor):
    """Writes the files that `components.predict.artifact` reads, and `manifest.json`."""

    def Do(
        self, input_dict: dict[str, list[Any]], output_dict: dict[str, list[Any]], exec_properties: dict[str, Any]
    ) -> None:
        """Run one model."""
        # Beam and TensorFlow take seconds to import. A cached run skips that.
        from components.predict.artifact import Predictions, predict_model

        request = PredictionSpec.model_validate_json(exec_properties["spec"])
        inputs = {name: artifact_utils.get_single_instance(each) for name, each in input_dict.items() if each}
        examples = Path(inputs["examples"].uri)
        model = verified(inputs["model"])
        baseline = Predictions(verified(inputs["baseline"])) if "baseline" in inputs else None
        artifact = artifact_utils.get_single_instance(output_dict["predictions"])
        report = predict_model(
            model,
            baseline=baseline,
            files=split_files(str(examples), request.split),
            request=request,
            task=exec_properties["task"],
            task_version=exec_properties["task_version"],
            output=Path(artifact.uri),
            transform_graph=inputs["transform_graph"].uri if "transform_graph" in inputs else None,
            make_pipeline=pipeline_maker(self),
        )
        write_result(
            artifact,
            PREDICTIONS_FOLDER,
            role="predictions",
            model=model,
            parents={
                "model": model,
                "examples": examples / f"Split-{request.split}",
                "baseline": None if baseline is None else baseline.artifact,
            },
            code_version=exec_properties["code_version"],
            examples=report.examples,
            stored_bytes=report.stored_bytes,
        )


class PredictorSpec(component_spec.ComponentSpec):
    """The interface of a prediction.

    `model` is the float baseline, or a candidate or champion, which also needs `baseline`, the predictions of the
    baseline. `spec` is the JSON of a `PredictionSpec`.
    """

    PARAMETERS = {
        name: component_spec.ExecutionParameter(type=str) for name in ("spec", "task", "task_version", "code_version")
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "baseline": component_spec.ChannelParameter(type=standard_artifacts.InferenceResult, optional=True),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
    }
    OUTPUTS = {"predictions": component_spec.ChannelParameter(type=standard_artifacts.InferenceResult)}


class Predictor(base_beam_component.BaseBeamComponent):
    """Runs one model on all examples of a split, and stores the post-processed outputs."""

    SPEC_CLASS = PredictorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(PredictorExecutor)

    def __init__(self, **given: Any) -> None:
        """Accept inputs and parameters of `PredictorSpec` by name. None means an absent optional input."""
        named = {name: each for name, each in given.items() if each is not None}
        made = {name: Channel(type=output.type) for name, output in PredictorSpec.OUTPUTS.items()}
        super().__init__(PredictorSpec(**named, **made))
