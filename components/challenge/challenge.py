"""Evaluates the stored predictions of a champion and of all candidates, with the champion in the baseline's place."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.evaluate.assess import load_slices, spans_of
from components.evaluate.eval_config import BASELINE
from components.evaluate.evaluation import run_evaluation
from components.facts.artifact_paths import SERVING_FOLDER
from components.facts.champion import Challenge, Challenger, Champion
from components.facts.verified import Verified
from components.predict.artifact import Predictions
from components.spec.evaluate import EvaluationSpec

logger = logging.getLogger(__name__)


def challenged(
    champion: Champion,
    of_champion: Predictions,
    of_candidates: Mapping[str, Predictions],
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
        files: Gzipped TFRecord files of tf.Examples.
        baseline: The float model, which says how to read outputs.
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
    with tempfile.TemporaryDirectory(prefix="edgemill-challenge-") as name:
        run_evaluation(
            files=files,
            baseline=baseline.folder / SERVING_FOLDER,
            predictions={BASELINE: of_champion.stored, **ran},
            spec=spec,
            label=label,
            task=task,
            output=Path(name),
            transform_graph=transform_graph,
            make_pipeline=make_pipeline,
        )
        slices = load_slices(Path(name), [BASELINE, *ran], [metric.name for metric in spec.metrics])
    return challenge.model_copy(
        update={
            "slices": slices[BASELINE],
            "challengers": tuple(
                one.model_copy(update={"slices": slices.get(one.name, ())}) for one in challenge.challengers
            ),
            "spans": spans_of(spec),
        }
    )


def _same(its: Predictions, champion: Champion) -> bool:
    return its.report.sha256 is not None and its.report.sha256 == champion.sha256
