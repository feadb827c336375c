"""Traverse the graph of a functional Keras model, and call its layers on new tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf

from components.upstream.keras import is_graph, nodes_in_order


def replay(model: Any, inputs: Iterable[Any], call: Callable[[Any, Any, Any], Any]) -> list[Any]:
    """Call the layers of a model, or their replacements, on new tensors in topological order.

    Args:
        model: A functional or Sequential Keras model.
        inputs: New tensors in the order of `model.inputs`.
        call: A function that takes a node and the new args and kwargs of its layer, and returns the new outputs.

    Returns:
        The new tensors in the order of `model.outputs`.
    """
    tensors = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
    for node in nodes_in_order(model):
        if node.is_input:
            continue
        args, kwargs = tf.nest.map_structure(
            lambda value: tensors.get(id(value), value), (node.call_args, node.call_kwargs)
        )
        outputs = call(node, args, kwargs)
        for old, new in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(outputs), strict=True):
            tensors[id(old)] = new
    return [tensors[id(output)] for output in model.outputs]


def all_layers(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All layers by name, including nested models. Each is followed by its layers, which are called `outer/inner`."""
    for layer in model.layers:
        yield f"{prefix}{layer.name}", layer
        if is_graph(layer):
            yield from all_layers(layer, f"{prefix}{layer.name}/")


def input_like(tensor: Any) -> Any:
    """A new input with the shape, dtype, and name of a model's input."""
    return tf.keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name.partition(":")[0])
