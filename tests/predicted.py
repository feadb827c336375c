"""Predictions for tests that evaluate models without a pipeline."""

from pathlib import Path

import apache_beam as beam

from components.evaluate.eval_config import BASELINE
from components.evaluate.evaluation import run_evaluation
from components.facts.manifest import write_manifest
from components.facts.verified import verified
from components.predict.artifact import Predictions, predict_model
from components.predict.models import FloatPredictor, TFLitePredictor
from components.predict.prediction import predict
from components.predict.report import PredictionReport
from components.predict.store import in_folder
from components.spec.prediction import PredictionSpec


def predict_and_evaluate(*, files, baseline, candidates, spec, label, task, output, **further):
    """Predict with the float model in the folder `baseline`, and with TFLite files by name, and evaluate."""
    request = PredictionSpec(split=spec.split, batch_size=spec.batch_size, max_bytes=spec.max_prediction_bytes)
    models = {BASELINE: lambda: FloatPredictor(baseline)}
    models |= {name: lambda path=path: TFLitePredictor(Path(path).read_bytes()) for name, path in candidates.items()}
    stored, names = {}, ()
    for name, load in models.items():
        folder = Path(output).with_name(f"{Path(output).name}-predictions") / name
        report = predict(
            load, files=files, request=request, task=task, output_names=names, output=folder,
            **{key: value for key, value in further.items() if key == "transform_graph"},
        )  # fmt: skip
        (folder / "report.json").write_text(report.model_dump_json())
        names = names or report.output_names
        stored[name] = in_folder(folder)
    return run_evaluation(
        files=files, baseline=baseline, predictions=stored, spec=spec, label=label, task=task, output=output, **further
    )


def reports(output):
    """Name of a model -> the facts about its predictions, after `predict_and_evaluate`."""
    folder = Path(output).with_name(f"{Path(output).name}-predictions")
    return {
        path.parent.name: PredictionReport.model_validate_json(path.read_bytes())
        for path in folder.glob("*/report.json")
    }


def write_predictions(folder, model, *, files, spec, task, baseline=None, examples="", make_pipeline=beam.Pipeline):
    """Write the artifact of the predictions of a verified model, and open it."""
    predict_model(
        model,
        baseline=baseline,
        files=files,
        request=PredictionSpec(split=spec.split, batch_size=spec.batch_size),
        task=task,
        task_version="1",
        output=folder,
        make_pipeline=make_pipeline,
    )
    parents = {"model": model.manifest.sha256, "examples": examples}
    write_manifest(folder, "predictions", role="predictions", parents=parents, code_version="1")
    return Predictions(verified(folder))
