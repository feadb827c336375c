"""Runs TFMA on the stored predictions of the float baseline and all candidates: slices, intervals, and changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer

from components.core.errors import EdgemillError, SpecError
from components.core.files import write_atomically
from components.data.dense import check_dense, named_label
from components.data.examples import ExampleDecoder
from components.data.task import WeighingTask, load_task
from components.evaluate.eval_config import BASELINE, eval_config
from components.evaluate.extractors import JoinExtractor
from components.evaluate.function_metric import FunctionValues
from components.evaluate.jackknife import EXAMPLE_COUNT, JackknifeEvaluator, model_names
from components.evaluate.means import MeanValuesExtractor, is_of_user, mean_metrics, per_example
from components.evaluate.outputs.constant import RefuseOneClass
from components.evaluate.outputs.reading import read_first_examples
from components.evaluate.outputs.resampled import RESAMPLED_KEY, WriteResampled
from components.evaluate.outputs.units import Terms
from components.facts.outputs import OutputReading
from components.metrics.functions import load_metric, not_weighable
from components.metrics.metric_ranges import limits_of
from components.metrics.model_outputs import of_probabilities
from components.metrics.ranks import is_exact_auc
from components.predict.store import StoredPredictions
from components.spec.evaluate import EvaluationSpec
from components.spec.metric import MetricSpec
from components.upstream.beam import typed_errors

logger = logging.getLogger(__name__)

# TFMA accepts weights for these classes, and ignores them.
_NEVER_WEIGHED = ("SemanticSegmentation",)


def run_evaluation(
    *,
    files: Sequence[str],
    baseline: Path,
    predictions: Mapping[str, StoredPredictions],
    spec: EvaluationSpec,
    label: str,
    task: str,
    output: Path,
    transform_graph: str | None = None,
    partial: bool = False,
    make_pipeline: Callable[[], Any] = beam.Pipeline,
) -> dict[str, OutputReading]:
    """Evaluate, and write files for stock TFMA (`tfma.load_eval_result`, `tfma.load_metrics`) and the observed facts.

    Args:
        files: Gzipped TFRecord files of tf.Examples.
        baseline: Serving folder of the float model, which determines how to read its outputs.
        predictions: Model -> its predictions for these files, in the same order of files. One of the models is the
            `BASELINE`.
        spec: Metrics, slices, and batch size.
        label: Feature that the metrics compare predictions with if the task declares no targets; "" for none.
        task: Reference of the task that decodes examples, `package.module:NAME`.
        output: Folder to write to.
        transform_graph: Folder of the Transform graph that the examples went through, if any.
        partial: The files contain only the first examples of the split, as many as all candidates ran on a device.
        make_pipeline: Creates a Beam pipeline with the runner's options.

    Returns:
        Output that a metric reads -> how its values are interpreted.

    Raises:
        SpecError: A metric, its output, the label, or a slice is unknown. This is raised before the evaluation starts.
        DataError: An example lacks a feature, contains NaN, or has a label out of range, or all examples have one
            class.
        ModelError: The baseline cannot be run.
        TamperedError: Predictions have changed since they were written, or belong to different examples.
    """
    decoder = ExampleDecoder(task, transform_graph)
    check_features(spec, label, decoder.feature_spec)
    weighted = isinstance(load_task(task), WeighingTask)
    candidates = [name for name in predictions if name != BASELINE]
    check_metrics(spec, label, candidates, weighted=weighted)
    read = read_first_examples(files, baseline, spec, label, task, decoder)
    for name, reading in read.readings.items():
        logger.info("The model returns %s as %s: %s", reading.kind, name, reading.why)
    spec = spec.model_copy(update={"metrics": tuple(_computed(metric, read.readings) for metric in read.metrics)})
    means = mean_metrics(spec.metrics)
    others = _others(spec)
    config = eval_config(spec, label, candidates, others, weighted)
    # Other metrics are TFMA's computations on single examples.
    batched = all(metric.function for metric in others)
    names = model_names(config)
    terms = _terms(spec.metrics, names)
    evaluator = _checked_evaluator(config, means, terms, spec.group_by is not None, ranked(spec.metrics), batched)
    # By TFMA's rule, a single model has the name "".
    scored = Scored(read.metrics)
    stored = (predictions[name].whose_scores_are_read(scored) for name in (BASELINE, *candidates))
    models = dict(zip(names, stored, strict=True))
    features = sorted({*named_label(label), *(f for fs in spec.slices for f in fs)})
    applied = {name: (reading.applied, probability_type(read.metrics, name)) for name, reading in read.readings.items()}
    functions = FunctionValues(read.metrics, label)
    extractors = [
        JoinExtractor(
            models, task, transform_graph, label, features, applied, functions, spec.group_by, spec.batch_size
        ),
        MeanValuesExtractor(means, terms, only=batched),
    ]
    if not batched:
        extractors += [
            tfma.extractors.UnbatchExtractor(),
            tfma.extractors.SliceKeyExtractor(eval_config=config, materialize=False),
        ]
    writer = metrics_plots_and_validations_writer.MetricsPlotsAndValidationsWriter(
        output_paths={tfma.METRICS_KEY: str(output / tfma.METRICS_KEY)}, eval_config=config
    )
    logger.info("Evaluating %d candidates and the baseline on %d files", len(candidates), len(files))
    with typed_errors(), make_pipeline() as pipeline:
        extracts = pipeline | "Files" >> beam.Create(list(enumerate(files)))
        # tfma.ExtractEvaluateAndWriteResults does the same, but warns about a byte counter once per batch.
        for number, stage in enumerate((*extractors, evaluator)):
            extracts = extracts | stage.stage_name >> stage.ptransform
            if not number:
                extracts | "Classes" >> RefuseOneClass(spec.split, partial)
        extracts.pop(RESAMPLED_KEY) | "Resampled" >> WriteResampled(output)
        extracts | writer.stage_name >> writer.ptransform
    # Written last: a folder that has this file is complete.
    _write_eval_run(output, eval_config(spec, label, candidates, spec.metrics, weighted), models)
    return read.readings


class Scored:
    """Whether a metric reads the scores of an output, by its name. A metric that is a function gets all outputs."""

    def __init__(self, metrics: Sequence[MetricSpec]) -> None:
        self._metrics = [metric for metric in metrics if metric.reads_scores]

    def __call__(self, output: str) -> bool:
        """Whether any of the metrics reads scores."""
        return any(metric.function or metric.output == output for metric in self._metrics)


def probability_type(metrics: Sequence[MetricSpec], output: str) -> type[np.floating[Any]]:
    """The type of probabilities: float64 for ranks, unless a class of the user reads them, which may expect float32."""
    of_output = [metric for metric in metrics if metric.output == output and not metric.function]
    ranked = any(is_exact_auc(metric.class_name, metric.config) for metric in of_output)
    return np.float64 if ranked and not any(is_of_user(metric.class_name) for metric in of_output) else np.float32


def _terms(metrics: Sequence[MetricSpec], models: Sequence[str]) -> Terms:
    return Terms(
        tuple(models),
        tuple(metric.name for metric in mean_metrics(metrics)),
        tuple(metric.name for metric in metrics if metric.function and load_metric(metric).is_ratio),
        {metric.name: limits for metric in metrics if (limits := limits_of(metric)) is not None},
    )


def ranked(metrics: Sequence[MetricSpec]) -> tuple[str, ...]:
    """The names of the metrics that are areas under the ROC curve, from the scores of all examples."""
    return tuple(
        metric.name
        for metric in metrics
        if metric.function == "anomaly_auc" or is_exact_auc(metric.class_name, metric.config)
    )


def _computed(metric: MetricSpec, readings: Mapping[str, OutputReading]) -> MetricSpec:
    """A metric in the form in which it is computed: from probabilities, and without an output if there is only one.

    A metric that is a function gets its outputs before TFMA computes anything.
    """
    if metric.function:
        return metric.model_copy(update={"output": None})
    reading = readings[str(metric.output)]
    if reading.kind != "values":
        metric = of_probabilities(metric, reading.applied)
    return metric if len(readings) > 1 else metric.model_copy(update={"output": None})


def check_metrics(spec: EvaluationSpec, label: str, candidates: Sequence[str] = (), *, weighted: bool = False) -> None:
    """Check that each metric exists and accepts its config, and weights if examples have them (`weighted`).

    Raises:
        SpecError: A metric is unknown, or doesn't accept its config or weights.
    """
    for metric in spec.metrics:
        if metric.function and not load_metric(metric).weighable and weighted:
            raise not_weighable(metric)
        if weighted and metric.class_name.startswith(_NEVER_WEIGHED):
            raise SpecError(
                f"the task weights examples, but TFMA's {metric.class_name} counts every example once",
                where="evaluate.metrics",
                bound="a metric that weights examples",
                measured=metric.name,
                remedy="use the function mean_iou, or your own function or RatioOfSums",
            )
    others = [metric for metric in _others(spec) if not metric.function]
    config = eval_config(spec, label, candidates, others, weighted)
    means = mean_metrics(spec.metrics)
    _checked_evaluator(config, means, _terms(means, model_names(config)), grouped=False)


def _others(spec: EvaluationSpec) -> list[MetricSpec]:
    means = mean_metrics(spec.metrics)
    return [metric for metric in spec.metrics if metric not in means]


def check_features(spec: EvaluationSpec, label: str, feature_spec: Mapping[str, Any]) -> None:
    """Check that label, slices, groups, and features of metrics are dense features, and that metric names are unique.

    Raises:
        SpecError: One of them isn't.
    """
    read = {feature: "evaluate.metrics" for metric in spec.metrics for feature in metric.features}
    slices = {feature: "evaluate.slices" for features in spec.slices for feature in features}
    groups = {} if spec.group_by is None else {spec.group_by: "evaluate.group_by"}
    check_dense({**read, **groups, **slices, **named_label(label)}, feature_spec)
    names = [metric.name for metric in spec.metrics]
    repeated = sorted({name for name in [*names, EXAMPLE_COUNT] if [*names, EXAMPLE_COUNT].count(name) > 1})
    if repeated:
        raise SpecError(
            f"the metric name {repeated[0]!r} is used twice",
            where="evaluate.metrics",
            bound=f"unique names other than {EXAMPLE_COUNT}",
            remedy="give each metric a different name",
        )


def _checked_evaluator(
    config: Any,
    means: Sequence[MetricSpec],
    terms: Terms,
    grouped: bool,
    areas: Sequence[str] = (),
    batched: bool = False,
) -> Any:
    try:
        for metric in means:
            per_example(metric)
        return JackknifeEvaluator(config, terms, grouped, areas, batched)
    except EdgemillError:
        raise
    except Exception as error:
        raise SpecError(
            f"TensorFlow Model Analysis rejects a metric: {error}",
            where="evaluate.metrics",
            bound="a metric class of TFMA or Keras, with its own keyword arguments",
            remedy="correct class_name or config; a class that the task's module registers is called PACKAGE>NAME",
        ) from error


def _write_eval_run(output: Path, config: Any, models: Mapping[str, StoredPredictions]) -> None:
    run = config_pb2.EvalRun(
        eval_config=config,
        version=tfma.VERSION_STRING,
        file_format="tfrecord",
        model_locations={name: stored.place for name, stored in models.items()},
    )
    write_atomically(output / "eval_config.json", json_format.MessageToJson(run).encode())
