"""Checks the model's outputs against targets, metrics, and the task's `postprocess`, on a few examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.core.errors import ConversionError, ModelError, SpecError
from components.core.user_code import in_time
from components.data.supervision import (
    ONLY,
    check_supervision,
    label_or_targets,
    no_targets,
    nothing_to_learn,
    postprocessed,
    targets_of,
    unknown_output,
    weights_of,
)
from components.data.task import PostprocessingTask, Task, TaskWithTargets, WeighingTask
from components.metrics.metric_outputs import target_of, with_outputs
from components.spec.baseline import TrainedBaseline
from components.spec.metric import MetricSpec
from pipelines.file.spec import PipelineSpec, asks_for_fewest_float

# Metric of several classes -> what to use for two classes with one output.
_BINARY = {
    "SparseCategoricalAccuracy": "`binary_accuracy` (`evaluate: {metrics: [binary_accuracy]}`)",
    "SparseCategoricalCrossentropy": "`{name: cross_entropy, class_name: BinaryCrossentropy}`",
}


@dataclass(frozen=True)
class Batch:
    """A few decoded examples.

    Attributes:
        inputs: The result of the task's `decode`.
        targets: Output -> tensor [N, ...]; the label is the target of the output `ONLY`.
        weights: Weights of the examples [N]; None if all have the same weight.
        features: Parsed features [N, ...].
        count: N.
    """

    inputs: Any
    targets: Mapping[str, Any]
    weights: Any
    features: Mapping[str, Any]
    count: int


@dataclass(frozen=True)
class Built:
    """The baseline's model.

    Attributes:
        model: The Keras model; None for a graph.
        shapes: Name of an output -> its shape.
        run: Decoded inputs of N examples -> outputs by name, arrays [N, ...].
        operations: Kinds of TensorFlow operations of a graph without Keras layers.
        float_file: The content of a baseline that is a TFLite file.
        converted: Returns the converter's float file for a graph without Keras layers; None if it can't convert it.
        failure: Returns the reason why the converter can't convert such a graph to a float file; None if it can.
        untrained: Why steps can't train the Keras layers of a SavedModel that is converted from its graph.
    """

    model: Any
    shapes: dict[str, Any]
    run: Callable[[Any], dict[str, Any]]
    operations: frozenset[str] = frozenset()
    float_file: bytes | None = None
    converted: Callable[[], bytes | None] = lambda: None
    failure: Callable[[], ConversionError | None] = lambda: None
    untrained: ModelError | None = None


def batch_of(task: Task, features: Mapping[str, Any], label: str, inputs: Any, count: int) -> Batch:
    """Compute targets and weights of a few examples, and check them.

    Raises:
        SpecError: `targets` or `example_weights` fails, or returns something else.
        DataError: A weight is negative or not finite.
    """
    with in_time("the task's targets or example_weights", "task"):
        targets, weights = label_or_targets(targets_of(task, features), features, label), weights_of(task, features)
    values = {name: np.asarray(value) for name, value in targets.items()}
    held = None if weights is None else weights.numpy()
    check_supervision(values, held, count)
    return Batch(inputs, targets, weights, features, count)


def built_of_keras(model: Any) -> Built:
    """A Keras model that `check_exportable` accepts."""
    import tensorflow as tf

    from components.model.keras_model import output_names

    def run(inputs: Any) -> dict[str, Any]:
        results = tf.nest.flatten(model(inputs, training=False))
        return {name: values.numpy() for name, values in zip(output_names(model), results, strict=True)}

    return Built(model, dict(zip(output_names(model), [tensor.shape for tensor in model.outputs], strict=True)), run)


def check_targets_declared(spec: PipelineSpec, task: Task, built: Built) -> None:
    """Raise a SpecError if a task lacks the targets that training several outputs, or having no label, requires."""
    trains = ["baseline"] if isinstance(spec.baseline, TrainedBaseline) else []
    trains += [f"recipes[{place}].steps" for place, recipe in enumerate(spec.recipes) if recipe.steps]
    if not trains or isinstance(task, TaskWithTargets):
        return
    if not spec.examples.label:
        raise nothing_to_learn(tuple(built.shapes), trains[0])
    if len(built.shapes) > 1:
        raise no_targets(tuple(built.shapes), trains[0])


def check_shapes(spec: PipelineSpec, task: Task, built: Built, batches: Iterable[Batch]) -> None:
    """Check which output each metric reads, and its shape. `check_outputs` checks the results of `postprocess`.

    Raises:
        SpecError: A metric reads an output that doesn't exist or has no target, or needs one output for each class; or
            a target has the name of no output.
        ModelError: The model's output has a different number of classes.
    """
    if isinstance(task, PostprocessingTask):
        return
    batches = list(batches)
    _resolved(spec, task, built.shapes, batches)
    # A function can read additional targets.
    if isinstance(task, TaskWithTargets) and not any(metric.function for metric in spec.evaluate.metrics):
        for name in batches[0].targets if batches else ():
            if name not in built.shapes:
                raise unknown_output(
                    "the task's targets names an output that does not exist", name, built.shapes, "task"
                )


def check_outputs(spec: PipelineSpec, task: Task, built: Built, batches: Iterable[Batch]) -> None:
    """Check that each metric can be created, and can be computed on the first examples.

    Args:
        spec: The pipeline.
        task: Its task.
        built: The model. It need not be trained.
        batches: A few examples of each split; none if they can't be read in advance.

    Raises:
        SpecError: A metric, its output, a target, or `postprocess` is wrong.
        ModelError: The model's output has a different number of classes.
        DataError: A label is not a class number.
    """
    from components.evaluate.evaluation import check_metrics

    batches = list(batches)
    check_metrics(spec.evaluate, spec.examples.label, weighted=isinstance(task, WeighingTask))
    if any(map(asks_for_fewest_float, spec.recipes)):
        from components.convert.aeq.metric import keras_metric

        keras_metric(spec.evaluate.metrics[0].class_name, spec.evaluate.metrics[0].config)
    if isinstance(task, PostprocessingTask):
        if not batches:
            return  # The result of `postprocess` is unknown.
        finals = [_final(task, built, batch.inputs) for batch in batches]
        _check_comparable(spec.evaluate.metrics, finals)
        shapes: Mapping[str, Any] = {name: values.shape for name, values in finals[0].items()}
    else:
        shapes = built.shapes
        finals = [_equal_probabilities(shapes, batch) for batch in batches]
    metrics = _resolved(spec, task, shapes, batches)
    for batch, final in zip(batches, finals, strict=True):
        _check_computed(spec, metrics, batch, final)
    if functions := [metric for metric in metrics if metric.function]:
        for batch in batches:
            _check_functions(functions, batch, _final(task, built, batch.inputs), spec.examples.label)


def _resolved(
    spec: PipelineSpec, task: Task, shapes: Mapping[str, Any], batches: Sequence[Batch]
) -> tuple[MetricSpec, ...]:
    """The metrics with their outputs, after a check of the shapes."""
    names: Iterable[str] = batches[0].targets if batches else (ONLY,) if spec.examples.label else ()
    if not batches and isinstance(task, TaskWithTargets):
        names = shapes  # Unknown until the run reads examples.
    metrics = with_outputs(spec.evaluate.metrics, tuple(shapes), tuple(names))
    for name in spec.evaluate.outputs if isinstance(spec.evaluate.outputs, dict) else ():
        if name not in shapes:
            raise unknown_output("there is no such output", name, shapes, "evaluate.outputs")
    # The number of classes applies to the label.
    classes = None if isinstance(task, PostprocessingTask | TaskWithTargets) else spec.examples.num_classes
    for metric in metrics:
        if metric.function:
            continue
        _check_shape(metric, shapes[str(metric.output)], classes)
    return metrics


def _final(task: Task, built: Built, inputs: Any) -> dict[str, Any]:
    outputs = built.run(inputs)
    with in_time("the task's postprocess", "task"):
        # The batch size must not be a constant in the task: the last batch has fewer examples.
        alone = {name: values[:1].copy() for name, values in outputs.items()}
        final = postprocessed(task, outputs)
        postprocessed(task, alone)
    return final


def _check_comparable(metrics: Sequence[MetricSpec], finals: Iterable[Mapping[str, Any]]) -> None:
    """Refuse text and NaN in outputs that metric classes read. Functions check their arguments themselves."""
    classes = [metric for metric in metrics if not metric.function]
    read = {name: metric for final in finals for metric in classes for name in final
            if metric.output == name or (metric.output is None and len(final) == 1)}  # fmt: skip
    for name, values in ((name, values) for final in finals for name, values in final.items() if name in read):
        is_text = values.dtype.kind not in "biuf"
        if is_text or np.isnan(values).any():
            raise SpecError(
                f"the metric {read[name].name!r} compares numbers, but the output {name!r} has "
                + ("none" if is_text else "values that are NaN"),
                where="task",
                bound="numbers from postprocess",
                measured=f"{values.dtype} {list(values.shape)}"
                + ("" if is_text else f", {int(np.isnan(values).sum())} of {values.size} are NaN"),
                remedy="correct postprocess, or use a function as metric (docs/metrics.md)",
            )


def _equal_probabilities(shapes: Mapping[str, Any], batch: Batch) -> dict[str, Any]:
    """Return equal class probabilities for each output whose shape is known."""
    return {
        name: np.full((batch.count, *shape[1:]), 1 / max(2, shape[-1] if shape.rank > 1 else 1), np.float32)
        for name, shape in shapes.items()
        if shape.rank and None not in shape[1:]
    }


def _check_shape(metric: MetricSpec, shape: Any, classes: int | None) -> None:
    """Check the shape of an output, with or without known rank, against the number of classes and a metric."""
    rank = shape.rank if hasattr(shape, "rank") else len(shape)
    outputs = rank and (1 if rank == 1 else shape[-1])
    if classes is not None and rank == 2 and outputs not in {None, 1, classes}:
        raise ModelError(
            "the model's output does not fit the number of classes",
            where="examples.num_classes",
            bound=f"{outputs}, the number of the model's outputs",
            measured=classes,
            remedy="correct num_classes, or the model's last layer",
        )
    if metric.class_name.startswith("Sparse") and outputs == 1:
        raise SpecError(
            f"the metric {metric.name!r} needs one output for each class, but the model has one output",
            where="evaluate.metrics",
            bound="at least two outputs",
            measured=f"an output of shape {shape}",
            remedy=f"use {_BINARY.get(metric.class_name, _BINARY['SparseCategoricalAccuracy'])}, or give the model an "
            "output for each class",
        )
    of_top = metric.class_name.endswith("TopKCategoricalAccuracy") and metric.config.keys() <= {"k"}
    most = metric.config.get("k", 5) if of_top else 0
    if outputs and isinstance(most, int) and most >= outputs:
        raise SpecError(
            f"the metric {metric.name!r} is always 1, so every bound on it always holds",
            where="evaluate.metrics",
            bound=f"k below {outputs}, the number of the model's outputs",
            measured=most,
            remedy="use `accuracy`, or {name: top_2_accuracy, class_name: SparseTopKCategoricalAccuracy, "
            "config: {k: 2}}",
        )


def _check_computed(spec: PipelineSpec, metrics: tuple[MetricSpec, ...], batch: Batch, final: dict[str, Any]) -> None:
    """Check that each metric can be computed from the targets and from values in the shapes of the outputs."""
    from components.evaluate.metric_check import check_computed

    read = [metric for metric in metrics if metric.output in final and not metric.function]
    for metric in read:
        output = str(metric.output)
        check_computed([metric], np.asarray(target_of(batch.targets, output)), final[output])
    if metrics[0] in read and any(map(asks_for_fewest_float, spec.recipes)):
        from components.convert.aeq.metric import score

        first, output = metrics[0], str(metrics[0].output)
        labels = np.asarray(target_of(batch.targets, output))
        weights = None if batch.weights is None else batch.weights.numpy()
        score(first.class_name, first.config, labels, final[output], weights)


def _check_functions(metrics: Sequence[MetricSpec], batch: Batch, final: Mapping[str, Any], label: str) -> None:
    """Compute the metrics that are functions from targets and the outputs of the model."""
    from components.evaluate.function_metric import named_targets
    from components.metrics.functions import check_function, only_of

    weights = None if batch.weights is None else batch.weights.numpy()
    targets = named_targets(final, {name: np.asarray(values) for name, values in batch.targets.items()}, label)
    for metric in metrics:
        features = {name: np.asarray(batch.features[name]) for name in metric.features}
        with in_time(f"the metric {metric.name!r}", "evaluate.metrics"):
            check_function(metric, only_of(final, metric.output), only_of(targets, metric.output), features, weights)
