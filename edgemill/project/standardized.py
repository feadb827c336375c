"""Columns that int8 can't tell apart because an input has one scale, and models that standardize such columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
STANDARDIZED = "standardized.keras"
"""The copy of a model without the layer that standardizes its columns."""
LEAST_STEPS = 8.0
"""Steps of the input's scale in a standard deviation of a column, below which int8 loses much of the column.

With 8 steps, rounding adds an error of 3.6 % of the standard deviation (1 / (8 * sqrt(12))).
"""
_LEVELS = 255
# As a fraction of the largest output: the precision that float32 loses if a mean is much larger than its deviation.
_TOLERANCE = 1e-4
_PROBES = 64


class Standardized(NamedTuple):
    """A model without the layer that standardizes its columns.

    Attributes:
        layer: Name of that layer.
        scale, offset: For each column: the layer computes `value * scale + offset`.
    """

    layer: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]


def coarse_columns(columns: Sequence[str], values: Array) -> dict[str, float]:
    """The columns that int8 loses at an input with one scale.

    Args:
        columns: Their names.
        values: Examples in the form of the model's input, [N, columns].

    Returns:
        Column -> steps of the input's scale in its standard deviation, fewer than `LEAST_STEPS`. Constants are missing.
    """
    step = (max(float(values.max()), 0.0) - min(float(values.min()), 0.0)) / _LEVELS
    deviations = values.std(axis=0, dtype=np.float64).tolist()
    found = {name: each / step for name, each in zip(columns, deviations, strict=True) if each > 0}
    return {name: steps for name, steps in found.items() if steps < LEAST_STEPS}


def without_standardization(model: Any, name: str, file: Path) -> Standardized | None:
    """Save a copy of a model without the `Normalization` layer that reads an input.

    Args:
        model: A functional or Sequential Keras model.
        name: Name of the input.
        file: The `.keras` file to write.

    Returns:
        The removed layer; None if such a layer isn't the only reader of the input, or if the copy answers differently.
    """
    import tensorflow as tf

    from components.model.keras_graph import input_like, replay
    from components.upstream.keras import is_graph, layers_that_read

    tensor = next((each for each in model.inputs if each.name.partition(":")[0] == name), None)
    if not is_graph(model) or tensor is None or isinstance(model.output, Mapping):
        return None
    readers = layers_that_read(tensor)
    layer = readers[0] if len(readers) == 1 else None
    if not isinstance(layer, tf.keras.layers.Normalization) or layer.invert:
        return None
    if any(each.dtype != tf.float32 for each in model.inputs):
        return None
    mean = np.broadcast_to(np.ravel(layer.mean), tensor.shape[-1:]).astype(np.float64)
    deviation = np.sqrt(np.broadcast_to(np.ravel(layer.variance), tensor.shape[-1:]).astype(np.float64))
    deviation = np.maximum(deviation, tf.keras.backend.epsilon())
    inputs = [input_like(each) for each in model.inputs]
    outputs = replay(
        model, inputs, lambda node, args, kwargs: args[0] if node.layer is layer else node.layer(*args, **kwargs)
    )
    copy = tf.keras.Model(inputs, outputs, name=model.name)
    copy.save(file)
    found = Standardized(layer.name, tuple((1 / deviation).tolist()), tuple((-mean / deviation).tolist()))
    saved = tf.keras.models.load_model(file, compile=False)
    generator = np.random.default_rng(0)
    # Other inputs are the same for both.
    probes = {
        each.name.partition(":")[0]: generator.normal(0, 1, [_PROBES, *each.shape[1:]]).astype(np.float32)
        for each in model.inputs
    }
    values = (probes[name] * deviation + mean).astype(np.float32)
    scaled = values * np.asarray(found.scale, np.float32) + np.asarray(found.offset, np.float32)
    expected, answered = _run(model, {**probes, name: values}), _run(saved, {**probes, name: scaled})
    return found if all(map(_close, expected, answered)) else None


def _run(model: Any, inputs: Mapping[str, Array]) -> list[Array]:
    import tensorflow as tf

    given = list(inputs.values())
    return [each.numpy() for each in tf.nest.flatten(model(given if len(given) > 1 else given[0], training=False))]


def _close(expected: Array, found: Array) -> bool:
    return bool(np.abs(expected - found).max() <= _TOLERANCE * max(float(np.abs(expected).max()), 1e-30))
