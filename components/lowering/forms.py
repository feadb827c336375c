"""The two forms of a lowered model: `streaming`, one time step per call, and `sequence`. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from components.cells.layer import IntegerRecurrent
from components.core.errors import ModelError
from components.facts.artifact_paths import SERVING_FOLDER
from components.model.streaming import next_name, state_name
from components.spec.scheme import Form
from components.upstream.keras import nodes_in_order, takes_training

# Layers that process each time step independently.
_FRAMEWISE = frozenset(
    {
        *("Dense", "Activation", "ReLU", "LeakyReLU", "Softmax", "BatchNormalization"),
        *("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Concatenate"),
        *("Dropout", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization"),
    }
)


def export_form(model: Any, form: Form, folder: Path, outputs: Sequence[str]) -> None:
    """Write the SavedModel of a model whose recurrent layers are `IntegerRecurrent`s.

    Its signature `serving_default` takes inputs by name, with a dynamic batch dimension. In the form `sequence`, these
    are the model's inputs. In the form `streaming`, these are one time step of each input, and each state under its
    `state_name`; the signature returns the outputs, and each new state under its `next_name`.

    Args:
        model: A functional model, with or without ranges.
        form: The form to write.
        folder: The artifact's folder; the SavedModel goes into `Format-Serving`.
        outputs: The names of the model's outputs, in its own order.

    Raises:
        ModelError: The model cannot be streamed.
    """
    layers = [layer for layer in model.layers if isinstance(layer, IntegerRecurrent)]
    specs = {
        name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name)
        for name, tensor in _inputs(model).items()
    }
    if form == "streaming":
        check_streams(model)
        specs = {name: tf.TensorSpec([None, *spec.shape[2:]], spec.dtype, name=name) for name, spec in specs.items()}
        for layer in layers:
            for state in layer.cell.states:
                name = state_name(layer.name, state)
                specs[name] = tf.TensorSpec([None, layer.cell.units], tf.float32, name=name)

    @tf.function(autograph=False)
    def serve(**inputs: Any) -> dict[str, Any]:
        if form == "streaming":
            return _frame(model, inputs, outputs)
        for layer in layers:
            layer.unrolled = True
        try:
            given = [inputs[name] for name in _inputs(model)]
            results = tf.nest.flatten(model(given if len(given) > 1 else given[0], training=False))
        finally:
            for layer in layers:
                layer.unrolled = False
        return dict(zip(outputs, results, strict=True))

    module = tf.Module()
    # Keep the variables, not the model, because Keras would trace each of the model's layers.
    module.held, module.serve = list(model.variables), serve
    path = str(folder / SERVING_FOLDER)
    tf.saved_model.save(module, path, signatures={"serving_default": serve.get_concrete_function(**specs)})


def check_streams(model: Any) -> None:
    """Check that each layer of a model, as for `export_form`, processes one time step at a time before the last state.

    Raises:
        ModelError: A layer needs several time steps; the message names it.
    """
    _walk(model, {}, {}, refuse=True)
    returns_each_step(model)


def returns_each_step(model: Any) -> bool:
    """Whether the model returns an output for each time step, not only for the last.

    Raises:
        ModelError: Some outputs have a time axis, and others do not.
    """
    timed = {output.shape.rank > 2 for output in model.outputs}
    if len(timed) > 1:
        raise _not_streamed("outputs", "some of them have a time axis, and others do not")
    return timed == {True}


def _frame(model: Any, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
    states = {
        layer.name: {state: inputs[state_name(layer.name, state)] for state in layer.cell.states}
        for layer in model.layers
        if isinstance(layer, IntegerRecurrent)
    }
    results, after = _walk(model, {name: inputs[name] for name in _inputs(model)}, states)
    named = {next_name(layer, state): value for layer, values in after.items() for state, value in values.items()}
    return {**dict(zip(outputs, results, strict=True)), **named}


def _walk(
    model: Any, frames: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]], refuse: bool = False
) -> tuple[list[Any], dict[str, dict[str, Any]]]:
    """Call the model's layers on one time step. With `refuse`, only check whether this is possible.

    A tensor with a time axis in the model is a frame without time axis here.
    """
    tensors: dict[int, Any] = {}
    timed: set[int] = set()
    after: dict[str, dict[str, Any]] = {}
    for name, tensor in _inputs(model).items():
        if tensor.shape.rank < 3:
            raise _not_streamed(f"input {name}", "it has no time axis")
        tensors[id(tensor)] = frames.get(name)
        timed.add(id(tensor))
    for node in nodes_in_order(model):
        if node.is_input:
            continue
        layer, one = node.layer, getattr(node.layer, "layer", node.layer)
        is_timed = [id(tensor) in timed for tensor in node.keras_inputs]
        (made,) = tf.nest.flatten(node.outputs)
        if refuse:
            _check(layer, one, is_timed)
        elif isinstance(layer, IntegerRecurrent):
            value, after[layer.name] = layer.frame(tensors[id(node.keras_inputs[0])], states[layer.name])
        elif any(is_timed) and type(one).__name__ == "Reshape":
            value = _reshaped(tensors[id(node.keras_inputs[0])], one)
        else:
            args, kwargs = tf.nest.map_structure(
                lambda value: tensors.get(id(value), value), (node.call_args, node.call_kwargs)
            )
            value = layer(*args, **{**kwargs, **({"training": False} if takes_training(layer) else {})})
        tensors[id(made)] = None if refuse else value
        if layer.return_sequences if isinstance(layer, IntegerRecurrent) else any(is_timed):
            timed.add(id(made))
    return [tensors[id(output)] for output in model.outputs], after


def _reshaped(frame: Any, layer: Any) -> Any:
    """Apply, to one time step, a Reshape that was added to turn batch normalization into a 1x1 convolution."""
    channels = layer.target_shape[-1]
    return tf.reshape(frame, [-1, 1, 1, channels] if layer.name.endswith("/upright") else [-1, channels])


def _check(layer: Any, one: Any, is_timed: list[bool]) -> None:
    name, kind = one.name, type(one).__name__
    if isinstance(layer, IntegerRecurrent):
        if not is_timed[0]:
            raise _not_streamed(f"layer {name}", "its input has no time axis")
        if layer.go_backwards:
            raise _not_streamed(f"layer {name}", "it starts at the end of the sequence")
        return
    if not any(is_timed):
        return
    inner = kind == "Reshape" and name.endswith(("/upright", "/flat"))
    pointwise = kind in {"Conv2D", "DepthwiseConv2D"} and set(one.kernel_size) | set(one.strides) == {1}
    if not all(is_timed) or not (kind in _FRAMEWISE or inner or pointwise):
        raise _not_streamed(f"layer {name}", f"a {kind} reads more than one time step here")


def _not_streamed(where: str, why: str) -> ModelError:
    return ModelError(
        f"the model cannot be streamed: {why}",
        where=where,
        bound="layers that process one time step, up to the last recurrent layer or to the output",
        remedy="use `recurrent: sequence`, or change the layer",
    )


def _inputs(model: Any) -> dict[str, Any]:
    return {tensor.name.partition(":")[0]: tensor for tensor in model.inputs}
