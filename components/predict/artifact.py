"""The artifact of one model's predictions: how it is made from the model's artifact, and how it is read."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from components.core.errors import ModelError, SpecError, tampered
from components.core.files import sha256_of_bytes, write_atomically
from components.core.values import serialized
from components.data.examples import first_inputs
from components.facts.artifact_paths import PREDICTIONS_FOLDER, SERVING_FOLDER, TFLITE_FILE
from components.facts.verified import Verified
from components.predict.comparable import differing_outputs
from components.predict.models import FloatPredictor, TFLitePredictor
from components.predict.prediction import predict, rejection
from components.predict.report import PredictionReport, Rejection
from components.predict.store import StoredPredictions
from components.spec.prediction import PredictionSpec

_REPORT = f"{PREDICTIONS_FOLDER}/report.json"


class Predictions:
    """The predictions of one model.

    Attributes:
        artifact: The artifact with the predictions.
        report: Facts about them.
        stored: The outputs by example.
    """

    def __init__(self, artifact: Verified) -> None:
        self.artifact = artifact
        self.report = PredictionReport.model_validate_json(artifact.read(_REPORT))
        self.stored = StoredPredictions(artifact.manifest.files, artifact.read, artifact.place)

    def check_made_from(self, name: str, digest: str) -> None:
        """Check the artifact that they were made from.

        Args:
            name: Its name among the parents.
            digest: Its digest.

        Raises:
            TamperedError: They were made from a different artifact.
        """
        found = self.artifact.manifest.parents.get(name)
        if found != digest:
            raise tampered("predictions", self.artifact.place, f"{name} with sha256 {digest}", f"sha256 {found}")


def predict_model(
    model: Verified,
    *,
    baseline: Predictions | None,
    files: Sequence[str],
    request: PredictionSpec,
    task: str,
    task_version: str,
    output: Path,
    transform_graph: str | None = None,
    make_pipeline: Callable[[], Any],
) -> PredictionReport:
    """Predict with the model of an artifact, and write the content of an artifact of predictions.

    A candidate without a file, and one that cannot run on the first example, has a report only. So does a champion
    whose outputs are not the baseline's, or that fails on any example: it may be a release of another model.

    Args:
        model: The float baseline, a candidate, or a champion.
        baseline: Predictions of the float baseline; None for the baseline itself.
        task_version: Version of the task, for the report.
        output: Folder of the new artifact.
        files, request, task, transform_graph, make_pipeline: As for `predict`.

    Raises:
        DataError, SpecError, ModelError: As for `predict`. Also DataError if there are no examples.
        TamperedError: The model has changed since it was written.
    """
    example = first_inputs(files, 1, task, transform_graph, "evaluate on")
    report = PredictionReport(task=task, task_version=task_version, **request.model_dump())
    runs, champion = baseline is None, model.manifest.role == "champion"
    if baseline is not None and TFLITE_FILE in model.manifest.files:
        content = model.read(TFLITE_FILE)
        report = report.model_copy(update={"sha256": sha256_of_bytes(content)})
        rejected = rejection(content, example)
        if rejected is None and champion:
            rejected = differing_outputs(content, example, baseline.report, task)
        report = report.model_copy(update={"rejected": rejected})
        runs = rejected is None
    if runs:
        try:
            found = predict(
                functools.partial(FloatPredictor, model.folder / SERVING_FOLDER)
                if baseline is None
                # Every worker verifies the digest of the file that it runs, so the outputs belong to these bytes.
                else functools.partial(_verified_file, model),
                files=files,
                request=request,
                task=task,
                output_names=() if baseline is None else baseline.report.output_names,
                output=output / PREDICTIONS_FOLDER,
                transform_graph=transform_graph,
                make_pipeline=make_pipeline,
            )
            report = found.model_copy(update={"sha256": report.sha256, "task_version": task_version})
        except (SpecError, ModelError) as error:
            if not champion:
                raise
            shutil.rmtree(output / PREDICTIONS_FOLDER, ignore_errors=True)
            report = report.model_copy(update={"rejected": Rejection(message=error.what, remedy=error.remedy)})
    model.check()
    write_atomically(output / _REPORT, serialized(report))
    return report


def _verified_file(model: Verified) -> TFLitePredictor:
    return TFLitePredictor(model.read(TFLITE_FILE))
