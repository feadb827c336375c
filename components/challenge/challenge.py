"""Evaluates the stored predictions of a champion and of all candidates, with the champion in place of the baseline."""

from __future__ import annotations

import functools
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.device_check.measure.measurement import Measurement
from components.device_check.metrics import first_examples_of
from components.evaluate.assess import load_slices, spans_of
from components.evaluate.eval_config import BASELINE
from components.evaluate.evaluation import run_evaluation
from components.facts.artifact_paths import SERVING_FOLDER
from components.facts.champion import Challenge, Challenger, Champion, DeviceChallenge
from components.facts.verified import Verified
from components.predict.artifact import Predictions
from components.spec.evaluate import EvaluationSpec

logger = logging.getLogger(__name__)

# The measurements of the champion and of each candidate.
Measured = tuple[Measurement, Mapping[str, Measurement]]
# Suffix of its outputs, as in `components.device_check.tflm.RunOutputs.all`.
_TFLM = ""


def challenged(
    champion: Champion,
    of_champion: Predictions,
    of_candidates: Mapping[str, Predictions],
    measured: Measured | None = None,
    *,
    files: Sequence[str],
    baseline: Verified,
    spec: EvaluationSpec,
    label: str,
    task: str,
    transform_graph: str | None = None,
    make_pipeline: Callable[[], Any],
) -> Challenge:
    """Compare all candidates with the champion. A candidate that is the champion's file is not compared with itself.

    Args:
        champion: The champion.
        of_champion: Its predictions.
        of_candidates: Recipe name -> predictions of its candidate, in the order of the pipeline file.
        measured: Outputs of the champion and the candidates under TensorFlow Lite Micro; None for a device without
            this evaluator.
        files: Gzipped TFRecord files of tf.Examples.
        baseline: The float model, which determines how to read outputs.
        spec, label, task, transform_graph, make_pipeline: As for `run_evaluation`.

    Raises:
        SpecError, DataError, ModelError: As for `run_evaluation`.
        TamperedError: An artifact has changed since it was written.
    """
    challengers = tuple(
        Challenger(name=name, sha256=its.report.sha256, same=_same(its, champion))
        for name, its in of_candidates.items()
    )
    challenge = Challenge(champion=champion, challengers=challengers)
    if champion.state != "found":
        return challenge
    rejected = of_champion.report.rejected
    if champion.incomparable or rejected is not None:
        why = champion.incomparable or ("" if rejected is None else rejected.message)
        logger.warning("%s: the champion %s cannot be compared: %s", champion.device, champion.version, why)
        return challenge.model_copy(update={"incomparable": why})
    ran = {
        one.name: of_candidates[one.name].stored
        for one in challengers
        if one.sha256 is not None and not one.same and of_candidates[one.name].report.rejected is None
    }
    if not ran:
        return challenge
    evaluate = functools.partial(
        run_evaluation,
        baseline=baseline.folder / SERVING_FOLDER,
        spec=spec,
        label=label,
        task=task,
        transform_graph=transform_graph,
        make_pipeline=make_pipeline,
    )
    names = [metric.name for metric in spec.metrics]
    with tempfile.TemporaryDirectory(prefix="edgemill-challenge-") as name:
        evaluate(files=files, predictions={BASELINE: of_champion.stored, **ran}, output=Path(name))
        slices = load_slices(Path(name), [BASELINE, *ran], names)
    on_device = None if measured is None else _on_device(measured, list(ran), files, spec, evaluate)
    return challenge.model_copy(
        update={
            "slices": slices[BASELINE],
            "challengers": tuple(
                one.model_copy(update={"slices": slices.get(one.name, ())}) for one in challenge.challengers
            ),
            "spans": spans_of(spec),
            "on_device": on_device,
        }
    )


def _on_device(
    measured: Measured, names: list[str], files: Sequence[str], spec: EvaluationSpec, evaluate: Callable[..., Any]
) -> DeviceChallenge:
    """Compare under TensorFlow Lite Micro, on the examples that the champion and all candidates ran there."""
    champion, candidates = measured
    if (here := champion.stored.get(_TFLM)) is None:
        failures = champion.report.candidate.failures if champion.report.candidate is not None else ()
        why = next((failure.message for failure in failures), "its outputs there cannot be compared")
        return DeviceChallenge(why=why)
    ran = {name: candidates[name] for name in names if _TFLM in candidates[name].stored}
    if not ran:
        return DeviceChallenge(why="no candidate ran there")
    common = min(each.report.runs[_TFLM] for each in (champion, *ran.values()))
    stored = {BASELINE: here, **{name: each.stored[_TFLM] for name, each in ran.items()}}
    with tempfile.TemporaryDirectory(prefix="edgemill-challenge-") as folder:
        first = Path(folder, "examples.gz")
        for _ in first_examples_of(common, files, spec.batch_size, first):
            pass
        evaluate(files=[str(first)], predictions=stored, output=Path(folder, "evaluation"), partial=True)
        slices = load_slices(Path(folder, "evaluation"), list(stored), [metric.name for metric in spec.metrics])
    return DeviceChallenge(slices=slices[BASELINE], challengers={name: slices[name] for name in ran})


def _same(its: Predictions, champion: Champion) -> bool:
    return its.report.sha256 is not None and its.report.sha256 == champion.sha256
