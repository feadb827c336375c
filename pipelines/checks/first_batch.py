"""Checks the first examples: labels, NaN, infinity, and that the model trains on them. Imports TensorFlow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, ModelError, SpecError, some_of, summary_line
from components.data.supervision import fit_targets
from components.model.keras_model import output_names
from components.upstream.keras import compiled_metrics
from pipelines.checks.output_check import Batch, Built

# Keras determines the meaning of these names from the output's shape.
_METRICS_OF_ANY_OUTPUT = ("accuracy", "acc", "crossentropy", "ce")


def check_label_type(feature_spec: Mapping[str, Any], label: str) -> None:
    """Raise a SpecError if the label is text. Without a label (""), do nothing."""
    import tensorflow as tf

    if label and feature_spec[label].dtype == tf.string:
        raise SpecError(
            "the label is text, but losses and metrics need numbers",
            where="examples.label",
            bound="a feature of integers or floats",
            measured=f"{label!r} is {feature_spec[label].dtype.name}",
            remedy="write the examples with class numbers from 0, or convert the text to numbers with `preprocess`",
        )


def check_values(features: Mapping[str, Any], label: str, num_classes: int | None, file: Path) -> None:
    """Raise a DataError if a number in a file's first records is NaN or infinite, or if a label is out of range.

    The features [N, ...] are those that the task declares. Labels must be integers from 0 to `num_classes - 1`.
    `num_classes` is None if labels aren't classes.
    """
    import tensorflow as tf

    for name, values in features.items():
        # Sparse and ragged features store flat values.
        held = getattr(values, "flat_values", getattr(values, "values", values))
        if held.dtype.is_floating and (measured := _not_finite(held.numpy())):
            raise DataError(
                f"the feature {name!r} has values that are not finite in the file's first records",
                where=str(file),
                bound="finite numbers",
                measured=measured,
                remedy="correct or remove these examples",
            )
    if num_classes is None:
        return
    labels = tf.cast(features[label], tf.float64).numpy().ravel()
    wrong = labels[(labels < 0) | (labels >= num_classes) | (labels != np.floor(labels))]
    if wrong.size:
        raise DataError(
            f"the label {label!r} is not a class number in the file's first records",
            where=str(file),
            bound=f"integers from 0 to {num_classes - 1} (examples.num_classes: {num_classes})",
            measured=", ".join(f"{each:g}" for each in sorted(set(wrong))),
            remedy="number the classes from 0, or correct num_classes",
        )


def check_partition(records: Sequence[bytes], feature: str, file: Path) -> None:
    """Raise a DataError if ExampleGen can't split the first records by a feature: it is missing, or contains floats."""
    import tensorflow as tf

    for record in records:
        held = tf.train.Example.FromString(record).features.feature
        kind = held[feature].WhichOneof("kind") if feature in held else None
        if kind not in {"bytes_list", "int64_list"}:
            raise DataError(
                f"the splits are hashed by the feature {feature!r}, which one of the file's first records "
                + ("stores as floats" if kind else "lacks"),
                where=str(file),
                bound=f"integers or text in {feature!r} (examples.splits.feature)",
                measured=", ".join(sorted(held)) or "no features",
                remedy="specify a feature that every example has, or remove `feature` to hash whole examples",
            )


def check_finite(inputs: Any, file: Path) -> None:
    """Raise a DataError if the task's decode returns NaN or infinity for a file's first records."""
    for name, values in (inputs if isinstance(inputs, Mapping) else {"": inputs}).items():
        held = np.asarray(values)
        if np.issubdtype(held.dtype, np.floating) and (measured := _not_finite(held)):
            raise DataError(
                "the task's decode returns values that are not finite for the file's first records",
                where=f"{file}, input {name}" if name else str(file),
                bound="finite numbers",
                measured=measured,
                remedy="run decode on one example and fix it (a logarithm of 0, a division by 0)",
            )


def _not_finite(values: npt.NDArray[Any]) -> str:
    if not np.issubdtype(values.dtype, np.inexact):
        return ""
    found = values[~np.isfinite(values)]
    return f"{found.flat[0]}, {found.size} of {values.size} values" if found.size else ""


def check_weights_finite(weights: Iterable[Any], where: str) -> None:
    """Raise a ModelError if variables of a model are NaN or infinite."""
    wrong = {weight.name: found for weight in weights if (found := _not_finite(weight.numpy()))}
    if wrong:
        name, measured = next(iter(wrong.items()))
        raise ModelError(
            f"the model has weights that are not finite: {some_of(wrong)}",
            where=where,
            bound="finite numbers",
            measured=f"{measured} in {name}",
            remedy="train the model again with a smaller learning rate, or choose another checkpoint",
        )


def check_outputs_finite(built: Built, inputs: Any, where: str) -> None:
    """Raise a ModelError if the model computes NaN or infinity from a few decoded inputs."""
    wrong = {name: found for name, values in built.run(inputs).items() if (found := _not_finite(values))}
    if wrong:
        name, measured = next(iter(wrong.items()))
        layer = _first_layer_not_finite(built.model, inputs)
        raise ModelError(
            "the model computes values that are not finite from the first examples",
            where=f"{where}, output {name}",
            bound="finite numbers",
            measured=measured + (f", first in layer {layer!r}" if layer else ""),
            remedy="correct the task's decode so that inputs are in the range that the model was trained on, or "
            "choose another checkpoint",
        )


def _first_layer_not_finite(model: Any, inputs: Any) -> str | None:
    import tensorflow as tf

    layers = [layer for layer in getattr(model, "layers", ()) if len(layer.inbound_nodes) == 1]
    if not layers or not getattr(model, "inputs", None):
        return None
    results = tf.keras.Model(model.inputs, [layer.output for layer in layers])(inputs, training=False)
    for layer, values in zip(layers, results, strict=True):
        if any(_not_finite(np.asarray(each)) for each in tf.nest.flatten(values)):
            return str(layer.name)
    return None


def check_compiled(model: Any) -> None:
    """Raise a SpecError if the task's compile hasn't compiled the model."""
    if getattr(model, "optimizer", None) is None:
        raise SpecError(
            "the task's compile does not compile the model, so it can't be trained",
            where="task",
            bound="compile(model) that calls model.compile(optimizer, loss)",
            measured="a model without an optimizer",
            remedy="call `model.compile(...)` on the model that is passed",
        )
    _check_metric_names(compiled_metrics(model))


def _check_metric_names(metrics: Iterable[Any]) -> None:
    """Raise a SpecError if Keras has no metric of this name. Later, Keras would try to call the name."""
    import tensorflow as tf

    for name in metrics:
        if not isinstance(name, str) or name.lower() in _METRICS_OF_ANY_OUTPUT or _knows_metric(name):
            continue
        public = {each for each in vars(tf.keras.metrics) if callable(getattr(tf.keras.metrics, each))}
        public |= {*tf.keras.utils.get_custom_objects(), *_METRICS_OF_ANY_OUTPUT}
        known = {each.rpartition(">")[2].lower(): each for each in sorted(public)}
        near = difflib.get_close_matches(name.lower(), sorted(known), n=1)
        raise SpecError(
            f"Keras knows no metric {name!r}" + (f"; did you mean {known[near[0]]!r}?" if near else ""),
            where="task",
            bound="names of tf.keras.metrics, and registered ones with their package",
            measured=repr(name),
            remedy="correct the name in compile(), or pass the metric itself",
        )


def _knows_metric(name: str) -> bool:
    import tensorflow as tf

    try:
        # Keras returns a name that it doesn't know.
        return not isinstance(tf.keras.metrics.get(name), str)
    except ValueError:
        return False
    except TypeError:
        # A class whose arguments are missing. Training reports this.
        return True


def check_trains(model: Any, trained: Batch, evaluated: Batch) -> None:
    """Train a compiled model on one batch, evaluate it on another, and restore the weights.

    Raises:
        SpecError: The loss, the optimizer, or the metrics don't match the model's output and the labels, or the loss
            isn't finite.
    """
    from components.upstream.autograph import leave_keras_as_it_is
    from components.upstream.keras import train_single_batches

    leave_keras_as_it_is()
    # With `steps_per_execution`, Keras would expect several batches.
    train_single_batches(model)
    weights = model.get_weights()
    for doing, on_batch, batch in (
        ("trained", model.train_on_batch, trained),
        ("evaluated", model.test_on_batch, evaluated),
    ):
        targets = fit_targets(batch.targets, output_names(model), "task")
        try:
            loss = float(np.ravel(on_batch(batch.inputs, targets, batch.weights))[0])
        except Exception as error:
            raise SpecError(
                f"the model cannot be {doing} on the first examples: {type(error).__name__}: {summary_line(error)}",
                where="task",
                bound="a loss, an optimizer, and metrics that accept the model's output and the label",
                measured=f"labels {_shapes(targets)}, outputs {_outputs(model)}",
                remedy="correct compile(), the model's last layer, or the label",
            ) from error
        if not np.isfinite(loss):
            raise SpecError(
                f"the loss is not finite when the model is {doing} on the first examples",
                where="task",
                bound="a finite loss",
                measured=loss,
                remedy="correct the loss in compile(), the model's last layer, or the label",
            )
    model.set_weights(weights)


def _shapes(targets: Any) -> str:
    if isinstance(targets, dict):
        return ", ".join(f"{name} {_shapes(values)}" for name, values in targets.items())
    return f"{list(targets.shape)} of {targets.dtype.name}"


def _outputs(model: Any) -> str:
    shapes = [list(tensor.shape) for tensor in model.outputs]
    if len(shapes) == 1:
        return str(shapes[0])
    return ", ".join(f"{name} {shape}" for name, shape in zip(output_names(model), shapes, strict=True))
