"""Evaluates metrics on the outputs of other runtimes, paired with the desktop runtime and the baseline."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.data.records import serialized_batches
from components.device_check.measure.measurement import Measurement
from components.device_check.tflm import DESKTOP_SUFFIX
from components.evaluate.assess import load_slices
from components.evaluate.eval_config import BASELINE
from components.evaluate.evaluation import run_evaluation
from components.facts.device import CandidateOnDevice, DeviceReport, RuntimeFacts, TflmFacts
from components.predict.digests import digests_of
from components.predict.store import PredictionWriter, StoredPredictions, in_folder
from components.spec.evaluate import EvaluationSpec

logger = logging.getLogger(__name__)


def with_metrics(
    report: DeviceReport,
    measurements: Mapping[str, Measurement],
    files: Sequence[str],
    *,
    baseline: Path,
    floats: StoredPredictions,
    spec: EvaluationSpec,
    label: str,
    task: str,
    transform_graph: str | None = None,
) -> DeviceReport:
    """Add metrics on every slice to a report. All candidates are evaluated on the examples that each of them has run.

    Args:
        report: The report without metrics.
        measurements: Recipe name -> its measurement.
        files: Gzipped TFRecord files of the split whose first examples ran.
        baseline: Serving folder of the float baseline.
        floats: The baseline's predictions for these files.
        spec, label, task, transform_graph: As for `run_evaluation`.

    Raises:
        SpecError, DataError, ModelError: As for `run_evaluation`.
        TamperedError: Predictions belong to different examples.
    """
    ran = {name: each for name, each in measurements.items() if each.report.runs}
    if not ran:
        return report
    common = min(count for each in ran.values() for count in each.report.runs.values())
    asked = max(each.report.asked for each in ran.values())
    if common < asked:
        logger.warning(
            "%s: there was time for %d of %d examples. To evaluate more, raise `seconds` of the evaluator in the "
            "device profile.",
            report.device,
            common,
            asked,
        )
    with tempfile.TemporaryDirectory(prefix="edgemill-tflm-") as name:
        folder = Path(name)
        first = str(folder / "examples.gz")
        (folder / BASELINE).mkdir()
        _take_first(common, files, floats, spec.batch_size, Path(first), folder / BASELINE)
        stored = {BASELINE: in_folder(folder / BASELINE)}
        stored |= {recipe + suffix: one for recipe, each in ran.items() for suffix, one in each.stored.items()}
        run_evaluation(
            files=[first],
            baseline=baseline,
            predictions=stored,
            spec=spec,
            label=label,
            task=task,
            output=folder / "evaluation",
            transform_graph=transform_graph,
            partial=True,
        )
        slices = load_slices(folder / "evaluation", list(stored), [metric.name for metric in spec.metrics])

    def evaluated(candidate: CandidateOnDevice) -> CandidateOnDevice:
        changes: dict[str, object] = {}
        if isinstance(candidate.tflm, TflmFacts):
            found = {"slices": slices[candidate.name], "desktop_slices": slices[candidate.name + DESKTOP_SUFFIX]}
            changes["tflm"] = candidate.tflm.model_copy(update=found)
        changes["runtimes"] = tuple(
            each.model_copy(
                update={
                    "outcome": each.outcome.model_copy(update={"slices": slices[f"{candidate.name}-on-{each.name}"]})
                }
            )
            if isinstance(each.outcome, RuntimeFacts)
            else each
            for each in candidate.runtimes
        )
        return candidate.model_copy(update=changes)

    candidates = tuple(map(evaluated, report.candidates))
    return report.model_copy(update={"candidates": candidates, "baseline_slices": slices[BASELINE]})


def _take_first(
    count: int, files: Sequence[str], floats: StoredPredictions, batch_size: int, examples: Path, output: Path
) -> None:
    """Write the first examples of files to one file, and the baseline's predictions for them to match that file."""
    with PredictionWriter(output, 0) as predictions:
        for number, row, chosen in first_examples_of(count, files, batch_size, examples):
            digests = digests_of(chosen)
            predictions.add(digests, floats.rows(number, row, digests))


def first_examples_of(
    count: int, files: Sequence[str], batch_size: int, output: Path
) -> Iterator[tuple[int, int, npt.NDArray[np.object_]]]:
    """Write the first examples of files to one file.

    Yields:
        Number of a file, number of an example in it, and the examples written from there on.
    """
    options, left = tf.io.TFRecordOptions(compression_type="GZIP"), count
    with tf.io.TFRecordWriter(str(output), options) as writer:
        for number, path in enumerate(files):
            row = 0
            for batch in serialized_batches([path], batch_size):
                chosen = batch[:left]
                for example in chosen:
                    writer.write(example)
                if len(chosen):
                    yield number, row, chosen
                row += len(chosen)
                left -= len(chosen)
                if not left:
                    return
