"""The Keras layers of a SavedModel, if its signature computes what they compute. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from components.baseline.graphs import BaselineGraph
from components.model.batch_probe import same_outputs
from components.model.input_shapes import drawn
from components.model.keras_model import input_specs, output_names
from components.model.saved_model import run_serving
from components.ranges.affine import Array

_EXAMPLES = 2


def served_layers(model: Any, graph: BaselineGraph) -> Any | None:
    """The layers as a model whose outputs have the names that they have in the signature.

    A signature can be a function of its own, for example one that also normalizes images. Keras' own signature names
    outputs after layers, even if the model returns a dict with other names.

    Args:
        model: The loaded Keras model.
        graph: The signature of the same SavedModel.

    Returns:
        None if names or values of the outputs differ, so the layers can't stand for the signature.
    """
    specs = graph.signature.structured_input_signature[1]
    wanted = set(graph.signature.structured_outputs)
    by_layer = tf.keras.Model(model.inputs, model.outputs, name=model.name) if isinstance(model.output, dict) else model
    named = next((one for one in (model, by_layer) if set(output_names(one)) == wanted), None)
    if named is None or set(input_specs(named)) != set(specs):
        return None
    count, generator = max([spec.shape[0] or _EXAMPLES for spec in specs.values()]), np.random.default_rng(0)
    inputs = {name: drawn(spec, count, generator) for name, spec in sorted(specs.items())}
    expected, again = (run_serving(graph.signature, inputs) for _ in range(2))
    if any(not same_outputs(expected[name], again[name]) for name in wanted):
        return named  # A random model can't be compared.
    found = _returned(named, inputs)
    return named if all(same_outputs(expected[name], found[name]) for name in wanted) else None


def _returned(model: Any, inputs: dict[str, Array]) -> dict[str, Array]:
    given = [tf.constant(inputs[name]) for name in input_specs(model)]
    returned = tf.nest.flatten(model(given if len(given) > 1 else given[0], training=False))
    return {name: tensor.numpy() for name, tensor in zip(output_names(model), returned, strict=True)}
