"""Runs TFMA on one split for the float baseline and all candidates, with slices, intervals, and changes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from components.data.examples import ExampleDecoder, check_dense
from components.evaluate.exact_auc import ExactAUC
from components.evaluate.extractors import (
    EXTRACTS,
    MODEL_TYPE,
    SATURATED,
    PredictExtractor,
    load_saved_model,
    load_tflite,
    read_batches,
    shared_model,
)
from components.evaluate.jackknife import EXAMPLE_COUNT, JackknifeEvaluator, model_names
from components.evaluate.means import MeanValuesExtractor, mean_metrics, per_example
from components.evaluate.saturation import WriteSaturated
from components.facts.outputs import OutputReading
from components.metrics.model_outputs import of_probabilities, read_outputs
from components.metrics.ranks import is_exact_auc
from components.model.keras_model import loss_takes_logits
from components.model.saved_model import CHUNK, SIGNATURE, final_operator, load_serving, only_output, run_serving
from components.spec.evaluate import EvaluationSpec
from components.spec.metric import MetricSpec

logger = logging.getLogger(__name__)

# No recipe can have this name, because recipe names have no hyphens.
BASELINE = "float-baseline"


def run_evaluation(
    *,
    files: Sequence[str],
    baseline: Path,
    candidates: Mapping[str, Path],
    reads: Mapping[str, Callable[[], bytes]] | None = None,
    spec: EvaluationSpec,
    label: str,
    task: str,
    output: Path,
    transform_graph: str | None = None,
    make_pipeline: Callable[[], Any] = beam.Pipeline,
) -> OutputReading:
    """Evaluate, and write files for stock TFMA (`tfma.load_eval_result`, `tfma.load_metrics`) and saturation shares.

    Args:
        files: Gzipped TFRecord files of tf.Examples.
        baseline: Folder of the float SavedModel, which has the model name `BASELINE` in the output.
        candidates: Name -> TFLite file.
        reads: Name -> function with which every worker reads that file; None reads the paths.
        spec: Metrics, slices, and batch size.
        label: Feature that the metrics compare predictions with.
        task: Reference of the task that decodes examples, `package.module:NAME`.
        output: Folder to write to.
        transform_graph: Folder of the Transform graph that the examples went through, if any.
        make_pipeline: Creates a Beam pipeline with the runner's options.

    Returns:
        How the models' outputs are interpreted.

    Raises:
        SpecError: A metric, the label, or a slice is unknown. This is raised before any example is read.
        DataError: An example lacks a feature, contains NaN, or has a label out of range.
        ModelError: The baseline cannot be run.
        TamperedError: `reads` raised it.
    """
    decoder = ExampleDecoder(task, transform_graph)
    check_features(spec, label, decoder.feature_spec)
    check_metrics(spec, label, list(candidates))
    outputs = _read_outputs(files, baseline, spec, label, task, decoder)
    logger.info("The model returns %s: %s", outputs.kind, outputs.why)
    if outputs.kind != "values":
        metrics = tuple(of_probabilities(metric, outputs.applied) for metric in spec.metrics)
        spec = spec.model_copy(update={"metrics": metrics})
    means = mean_metrics(spec.metrics)
    others = _others(spec)
    models = [shared_model(BASELINE, str(baseline), load_saved_model, is_baseline=True)]
    models += [
        shared_model(name, str(path), functools.partial(load_tflite, read=(reads or {}).get(name)))
        for name, path in candidates.items()
    ]
    config = _eval_config(spec, label, list(candidates), others)
    evaluator = _checked_evaluator(config, means)
    names = model_names(config)
    if len(models) == 1:
        models = [models[0]._replace(model_name="")]
    features = sorted({label, *(f for fs in spec.slices for f in fs)})
    predict = PredictExtractor(models, task, transform_graph, features, outputs.applied)
    extractors = [
        tfma.extractors.LabelsExtractor(config),
        MeanValuesExtractor(means, names, label, only=not others),
        tfma.extractors.UnbatchExtractor(),
        tfma.extractors.SliceKeyExtractor(eval_config=config, materialize=False),
    ]
    writer = metrics_plots_and_validations_writer.MetricsPlotsAndValidationsWriter(
        output_paths={tfma.METRICS_KEY: str(output / tfma.METRICS_KEY)}, eval_config=config
    )
    logger.info("Evaluating %d candidates and the baseline on %d files", len(candidates), len(files))
    with _typed_errors(), make_pipeline() as pipeline:
        batches = pipeline | "Files" >> beam.Create(list(files)) | "Read" >> beam.FlatMap(read_batches, spec.batch_size)
        predicted = batches | predict.stage_name >> predict.ptransform
        predicted[SATURATED] | "Saturated" >> WriteSaturated(output)
        extracts = predicted[EXTRACTS]
        # tfma.ExtractEvaluateAndWriteResults does the same, but warns about a byte counter once per batch.
        for stage in (*extractors, evaluator, writer):
            extracts = extracts | stage.stage_name >> stage.ptransform
    # Written last: a folder that has this file is complete.
    _write_eval_run(output, _eval_config(spec, label, list(candidates), spec.metrics), models)
    return outputs


def check_metrics(spec: EvaluationSpec, label: str, candidates: Sequence[str] = ()) -> None:
    """Check that each metric exists and accepts its config.

    Raises:
        SpecError: A metric is unknown or doesn't accept its config.
    """
    _checked_evaluator(_eval_config(spec, label, candidates, _others(spec)), mean_metrics(spec.metrics))


def _others(spec: EvaluationSpec) -> list[MetricSpec]:
    means = mean_metrics(spec.metrics)
    return [metric for metric in spec.metrics if metric not in means]


def _read_outputs(
    files: Sequence[str], baseline: Path, spec: EvaluationSpec, label: str, task: str, decoder: ExampleDecoder
) -> OutputReading:
    loaded, signature = load_serving(baseline)
    output = only_output(tuple(signature.structured_outputs), "baseline")
    examples = [batch[tfma.INPUT_KEY] for batch in itertools.islice(_batches(files, CHUNK), 2)]
    decoded = [decoder.decode(each) for each in examples]
    final = final_operator(signature, output)
    predictions = [run_serving(loaded.signatures[SIGNATURE], inputs)[output] for inputs, _ in decoded]
    return read_outputs(
        declared=spec.outputs,
        final_operator=final,
        from_logits=None if final in ("Softmax", "Sigmoid") else loss_takes_logits(task, baseline.parent),
        predictions=np.concatenate(predictions) if predictions else np.zeros((0, 1)),
        labels=np.concatenate([features[label] for _, features in decoded]) if decoded else np.zeros((0, 1)),
        metrics=spec.metrics,
    )


def _batches(files: Sequence[str], size: int) -> Iterator[Any]:
    return itertools.chain.from_iterable(read_batches(file, size) for file in files)


def check_features(spec: EvaluationSpec, label: str, feature_spec: Mapping[str, Any]) -> None:
    """Check that the label and the slices are dense features of the task, and that metric names are unique.

    Raises:
        SpecError: One of them isn't.
    """
    slices = {feature: "evaluate.slices" for features in spec.slices for feature in features}
    check_dense({**slices, label: "label"}, feature_spec)
    names = [metric.name for metric in spec.metrics]
    repeated = sorted({name for name in [*names, EXAMPLE_COUNT] if [*names, EXAMPLE_COUNT].count(name) > 1})
    if repeated:
        raise SpecError(
            f"the metric name {repeated[0]!r} is used twice",
            where="evaluate.metrics",
            bound=f"unique names other than {EXAMPLE_COUNT}",
            remedy="give each metric a different name",
        )


def _checked_evaluator(config: Any, means: Sequence[MetricSpec]) -> Any:
    try:
        for metric in means:
            per_example(metric)
        return JackknifeEvaluator(config, [metric.name for metric in means])
    except Exception as error:
        raise SpecError(
            f"TensorFlow Model Analysis rejects a metric: {error}",
            where="evaluate.metrics",
            bound="a metric class of TFMA or Keras, with its own keyword arguments",
            remedy="correct class_name or config",
        ) from error


def _eval_config(spec: EvaluationSpec, label: str, candidates: Sequence[str], metrics: Sequence[MetricSpec]) -> Any:
    config = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                name=name, model_type=MODEL_TYPE, label_key=label, is_baseline=bool(candidates) and name == BASELINE
            )
            for name in (BASELINE, *candidates)
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=features) for features in spec.slices),
        ],
    )
    if metrics:
        config.metrics_specs.add(metrics=[metric_config(each) for each in metrics], model_names=model_names(config))
    config.options.compute_confidence_intervals.value = True
    config.options.confidence_intervals.method = config_pb2.ConfidenceIntervalOptions.JACKKNIFE
    return config


def metric_config(metric: MetricSpec) -> Any:
    """Return TFMA's config of a metric."""
    config = json.dumps({**metric.config, "name": metric.name})
    if is_exact_auc(metric.class_name, metric.config):
        return config_pb2.MetricConfig(class_name=ExactAUC.__name__, module=ExactAUC.__module__, config=config)
    return config_pb2.MetricConfig(class_name=metric.class_name, config=config)


def _write_eval_run(output: Path, config: Any, models: Sequence[Any]) -> None:
    run = config_pb2.EvalRun(
        eval_config=config,
        version=tfma.VERSION_STRING,
        file_format="tfrecord",
        model_locations={model.model_name: model.model_path for model in models},
    )
    write_atomically(output / "eval_config.json", json_format.MessageToJson(run).encode())


@contextlib.contextmanager
def _typed_errors() -> Iterator[None]:
    """Raise the EdgemillError inside an exception that Beam wrapped, so that callers see the cause."""
    try:
        yield
    except Exception as error:
        typed = next((cause for cause in _causes(error) if isinstance(cause, EdgemillError)), None)
        if typed is None:
            raise
        raise typed from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
