"""Evaluates metrics on the outputs of other runtimes, paired with the desktop runtime and the baseline."""

from __future__ import annotations

import functools
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from components.data.supervision import postprocessed
from components.data.task import load_task
from components.device_check.tflm import DESKTOP_SUFFIX, RunOutputs
from components.evaluate.assess import load_slices
from components.evaluate.eval_config import BASELINE
from components.evaluate.evaluation import run_evaluation
from components.facts.device import CandidateOnDevice, DeviceReport, RuntimeFacts, TflmFacts
from components.predict.digests import digests_of
from components.predict.models import FloatPredictor
from components.predict.prediction import predict, renamed
from components.predict.store import PredictionWriter, in_folder
from components.spec.evaluate import EvaluationSpec
from components.spec.prediction import PredictionSpec

logger = logging.getLogger(__name__)


def with_metrics(
    report: DeviceReport,
    outputs: Mapping[str, RunOutputs],
    examples: Sequence[bytes],
    *,
    baseline: Path,
    spec: EvaluationSpec,
    label: str,
    task: str,
    transform_graph: str | None = None,
) -> DeviceReport:
    """Add metrics on every slice to a report. All candidates are evaluated on the examples that each of them has run.

    Args:
        report: The report without metrics.
        outputs: Recipe name -> outputs of the first examples, in real values.
        examples: The serialized tf.Examples that the candidates ran, in the same order.
        baseline: Serving folder of the float baseline.
        spec, label, task, transform_graph: As for `run_evaluation`.

    Raises:
        SpecError, DataError, ModelError: As for `run_evaluation`.
    """
    if not outputs:
        return report
    common = min(len(each) for run in outputs.values() for ran in run.all.values() for each in ran.values())
    if common < len(examples):
        logger.warning(
            "%s: there was time for %d of %d examples. To evaluate more, raise `seconds` of the evaluator in the "
            "device profile.",
            report.device,
            common,
            len(examples),
        )
    chosen = list(examples[:common])
    with tempfile.TemporaryDirectory(prefix="edgemill-tflm-") as name:
        folder = Path(name)
        options = tf.io.TFRecordOptions(compression_type="GZIP")
        with tf.io.TFRecordWriter(str(folder / "examples.gz"), options) as writer:
            for example in chosen:
                writer.write(example)
        request = PredictionSpec(split=spec.split, batch_size=spec.batch_size)
        load = functools.partial(FloatPredictor, baseline)
        files = [str(folder / "examples.gz")]
        on_floats = predict(
            load, files=files, request=request, task=task, output=folder / BASELINE, transform_graph=transform_graph
        )
        stored = {BASELINE: in_folder(folder / BASELINE)}
        digests, loaded, names = digests_of(chosen), load_task(task), on_floats.output_names
        for recipe, run in outputs.items():
            for suffix, by_output in run.all.items():
                model = recipe + suffix
                (folder / model).mkdir()
                with PredictionWriter(folder / model, 0) as writer:
                    for at in range(0, common, spec.batch_size):
                        end = min(at + spec.batch_size, common)
                        batch = {output: values[at:end] for output, values in by_output.items()}
                        writer.add(digests[at:end], postprocessed(loaded, renamed(batch, names)))
                stored[model] = in_folder(folder / model)
        run_evaluation(
            files=files,
            baseline=baseline,
            predictions=stored,
            spec=spec,
            label=label,
            task=task,
            output=folder / "evaluation",
            transform_graph=transform_graph,
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
