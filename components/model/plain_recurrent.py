"""Replaces recurrent layers with equivalent ones that can be fused or lowered. Imports TensorFlow.

Keras computes an `RNN` of an `LSTMCell` as a loop, and an `LSTM` with the same weights as one operator. The state that
a layer returns is often its last output.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.core.errors import summary_line
from components.model.keras_graph import replay
from components.model.keras_model import input_specs
from components.upstream.keras import calls_of, nodes_in_order, readers_of

_LOG = logging.getLogger(__name__)
_layers = tf.keras.layers
_CELLS = {"LSTMCell": _layers.LSTM, "GRUCell": _layers.GRU, "SimpleRNNCell": _layers.SimpleRNN}
# Layer -> the number of its states. The first one is the last output.
_STATES = {"GRU": 1, "SimpleRNN": 1, "LSTM": 2}
# Rounding of sums in a different order.
_TOLERANCE = 1e-5
_EXAMPLES = 3


def with_plain_recurrent(model: Any) -> Any:
    """A functional model with the same weights, or the given model if nothing can be replaced.

    These are replaced:

    - an `RNN` of an `LSTMCell`, a `GRUCell`, or a `SimpleRNNCell`, and of several stacked ones;
    - the hidden state that a GRU, a SimpleRNN, or an LSTM returns, with its last output, if nothing reads the cell
      state and no state is an output of the model. The same applies to both directions of a `Bidirectional`.

    Args:
        model: A functional or Sequential Keras model with inputs of known shapes.
    """
    if not any(_pieces(node.layer) or _returns_states(node, model) for node in nodes_in_order(model)):
        return model
    made: dict[int, Any] = {}

    def call(node: Any, args: Any, kwargs: Any) -> Any:
        layer = node.layer
        if _pieces(layer):
            if id(layer) not in made:
                made[id(layer)] = _chain(layer)
            return _called(made[id(layer)], args, kwargs, layer)
        if _returns_states(node, model):
            if id(layer) not in made:
                made[id(layer)] = _again(layer)
            return _with_states(layer, made[id(layer)](*args, **kwargs))
        return layer(*args, **kwargs)

    return _replaced(model, call, "that compute the same")


def without_state(model: Any) -> Any:
    """A functional model whose recurrent layers start each sequence from zeros, as after `reset_states`.

    Args:
        model: A functional or Sequential Keras model. It is returned unchanged if none of its own layers is stateful,
            or if the changed model returns something else after `reset_states`.
    """
    if not any(getattr(node.layer, "stateful", False) for node in nodes_in_order(model)):
        return model
    made: dict[int, Any] = {}

    def call(node: Any, args: Any, kwargs: Any) -> Any:
        layer = node.layer
        if getattr(layer, "stateful", False) and hasattr(layer, "return_sequences"):
            if id(layer) not in made:
                made[id(layer)] = _again(layer, "stateful")
            layer = made[id(layer)]
        return layer(*args, **kwargs)

    model.reset_states()
    changed = _replaced(model, call, "that start from zeros")
    model.reset_states()
    return changed


def _replaced(model: Any, call: Callable[[Any, Any, Any], Any], how: str) -> Any:
    """Replay a model, and return the result if it computes the same."""
    try:
        inputs = [tf.keras.Input(batch_shape=s.shape, dtype=s.dtype, name=n) for n, s in input_specs(model).items()]
        outputs = replay(model, inputs, call)
        packed = tf.nest.pack_sequence_as(model.output, outputs) if isinstance(model.output, dict) else outputs
        changed = tf.keras.Model(inputs if len(inputs) > 1 else inputs[0], packed, name=model.name)
        if changed.output_names == model.output_names and _same(model, changed):
            _LOG.info("Recurrent layers are replaced by ones %s.", how)
            return changed
    except Exception as error:
        # The model is refused, or converted unchanged.
        _LOG.info("Recurrent layers can't be replaced: %s", summary_line(error))
    return model


def _pieces(layer: Any) -> list[Any]:
    """The cells of an `RNN` that can be their own layers; empty if it can't be replaced."""
    if type(layer).__name__ != "RNN" or layer.return_state or layer.stateful:
        return []
    if any(len(tf.nest.flatten(node.call_args)) + len(node.call_kwargs) > 1 for node in calls_of(layer)):
        return []
    cells = layer.cell.cells if type(layer.cell).__name__ == "StackedRNNCells" else [layer.cell]
    return cells if all(type(cell).__name__ in _CELLS for cell in cells) else []


def _chain(layer: Any) -> list[Any]:
    cells, made = _pieces(layer), []
    for index, cell in enumerate(cells):
        last = index == len(cells) - 1
        config = {key: value for key, value in cell.get_config().items() if key not in {"name", "trainable"}}
        made.append(
            _CELLS[type(cell).__name__](
                **config,
                name=layer.name if last else f"{layer.name}_cell_{index}",
                return_sequences=layer.return_sequences or not last,
                # Later cells read the results of earlier ones, in that order.
                go_backwards=layer.go_backwards and index == 0,
                unroll=layer.unroll,
            )
        )
    return made


def _called(chain: Sequence[Any], args: Any, kwargs: Any, layer: Any) -> Any:
    y = args[0]
    for made, cell in zip(chain, _pieces(layer), strict=True):
        fresh = not made.built
        y = made(y, **kwargs)
        if fresh:
            made.set_weights(cell.get_weights())
            made.trainable = layer.trainable
    return y


def _returns_states(node: Any, model: Any) -> bool:
    """Whether a call returns states that its outputs determine, or that nothing reads."""
    if node.is_input:
        return False
    layer, kind = node.layer, type(node.layer).__name__
    both = kind == "Bidirectional"
    one = layer.forward_layer if both else layer
    if type(one).__name__ not in _STATES or not one.return_state or one.stateful or len(node.keras_inputs) > 1:
        return False
    if both and layer.merge_mode != "concat":
        return False
    _, *states = tf.nest.flatten(node.outputs)
    count = _STATES[type(one).__name__]
    results = {id(tensor) for tensor in model.outputs}
    unknown = [state for place, state in enumerate(states) if place % count]
    return not any(id(state) in results for state in states) and not any(map(readers_of, unknown))


def _again(layer: Any, option: str = "return_state") -> Any:
    """The layer with the same weights, without an option, in both directions of a `Bidirectional`."""
    config = layer.get_config()
    held = [config[key]["config"] for key in ("layer", "backward_layer") if key in config] or [config]
    for each in held:
        each[option] = False
    made = type(layer).from_config(config)
    made.build(layer.input_shape)
    made.set_weights(layer.get_weights())
    return made


def _with_states(layer: Any, y: Any) -> list[Any]:
    """Outputs and states. A cell state that nothing reads is any tensor of its shape."""
    both = type(layer).__name__ == "Bidirectional"
    one = layer.forward_layer if both else layer
    count = _STATES[type(one).__name__]
    if not both:
        return [y, *[y[:, -1] if one.return_sequences else y] * count]
    forward, backward = (y[:, -1], y[:, 0]) if one.return_sequences else (y, y)
    return [y, *[forward[:, : one.units]] * count, *[backward[:, one.units :]] * count]


def _same(model: Any, changed: Any) -> bool:
    random, values = np.random.default_rng(0), []
    for spec in input_specs(model).values():
        shape = [_EXAMPLES if size is None else size for size in spec.shape]
        # Every vocabulary has the indices 0 and 1.
        drawn = random.normal(size=shape) if spec.dtype.is_floating else random.integers(0, 2, shape)
        values.append(tf.constant(drawn, spec.dtype))
    given = values if len(values) > 1 else values[0]
    wanted, found = (tf.nest.flatten(each(given, training=False)) for each in (model, changed))
    return all(
        np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE)
        for one, other in zip(map(np.asarray, wanted), map(np.asarray, found), strict=True)
    )
