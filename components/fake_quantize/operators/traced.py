"""Traces a Lambda, a custom layer, or a custom activation as a model of known layers. Imports TensorFlow."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.core.errors import summary_line
from components.upstream.keras import is_symbolic, own_weights, renamed

_LOG = logging.getLogger(__name__)
# Keras numbers the names of layers in the order of their creation in the process.
_NUMBER = re.compile(r"_\d+$")
# Rounding of a float with a different order of operations.
_TOLERANCE = 1e-5
_EXAMPLES = 3


_LIBRARIES = ("tf_keras.", "keras.", "components.", "tensorflow.")


def is_own(layer: Any) -> bool:
    """Whether the code of a layer is the user's: a Lambda, or a class outside Keras."""
    return type(layer).__name__ == "Lambda" or not type(layer).__module__.startswith(_LIBRARIES)


def is_own_function(function: Any) -> bool:
    """Whether an activation is the user's function."""
    module = getattr(function, "__module__", None)
    return callable(function) and isinstance(module, str) and not module.startswith(_LIBRARIES)


def traced_layer(layer: Any, args: Any, kwargs: Mapping[str, Any]) -> Any | None:
    """A functional model of the operations and layers that a layer calls, outside training.

    Args:
        layer: A built layer.
        args, kwargs: Its arguments, with symbolic tensors.

    Returns:
        A model whose inputs are the tensors among the arguments, in order. None if the layer doesn't compute the same
        on symbolic tensors, for example because its code depends on values.
    """
    if type(layer).__name__ == "Lambda":
        return _traced(lambda *given, **named: layer.function(*given, **{**layer.arguments, **named}), args, kwargs)

    def call(*given: Any, **named: Any) -> Any:
        again = type(layer).from_config(layer.get_config())
        # The call creates weights, including those of layers inside.
        again(*given, **named)
        again.set_weights(layer.get_weights())
        return again.call(*given, **named)

    return _traced(call, args, kwargs, layer)


def traced_function(function: Callable[[Any], Any], x: Any) -> Any | None:
    """A functional model of the operations of a function of one tensor. None if it can't be traced."""
    return _traced(function, (x,), {})


def note_on(layer: Any) -> str:
    """How a traced layer is rewritten, for the report."""
    constants = any(weight.trainable for weight in own_weights(layer))
    return "rewritten as what it calls" + ("; its own weights, outside of layers, aren't trained" if constants else "")


def tensors_of(args: Any, kwargs: Mapping[str, Any]) -> list[Any]:
    """The symbolic tensors among the arguments of a call, in order."""
    return [value for value in tf.nest.flatten((args, dict(kwargs))) if is_symbolic(value)]


def _traced(function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], layer: Any = None) -> Any | None:
    tensors = tensors_of(args, kwargs)
    inputs = [tf.keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in tensors]
    new = {id(tensor): one for tensor, one in zip(tensors, inputs, strict=True)}
    args, kwargs = tf.nest.map_structure(lambda value: new.get(id(value), value), (args, dict(kwargs)))
    try:
        model = tf.keras.Model(inputs, function(*args, **kwargs))
        _rename(model)
        wanted = function if layer is None or type(layer).__name__ == "Lambda" else layer
        return model if _same(wanted, args, kwargs, inputs, model) else None
    except Exception as error:
        # User code can raise anything on symbolic tensors. The layer is then refused by name.
        _LOG.info("%s can't be traced: %s", getattr(layer, "name", function), summary_line(error))
        return None


def _rename(model: Any) -> None:
    """Give layers names that depend only on their order."""
    seen: dict[str, int] = {}
    for one in model.layers:
        name = _NUMBER.sub("", one.name)
        seen[name] = seen.get(name, -1) + 1
        renamed(one, f"{name}_{seen[name]}" if seen[name] else name)


def _same(function: Callable[..., Any], args: Any, kwargs: Any, inputs: Sequence[Any], model: Any) -> bool:
    """Whether the model returns what the function returns, on random values."""
    random = np.random.default_rng(0)
    values = []
    for one in inputs:
        shape = [_EXAMPLES if size is None else size for size in one.shape]
        drawn = random.normal(0.1, 1.0, shape) if one.dtype.is_floating else random.integers(0, 2, shape)
        values.append(tf.constant(drawn, one.dtype))
    by_input = {id(one): value for one, value in zip(inputs, values, strict=True)}
    args, kwargs = tf.nest.map_structure(lambda value: by_input.get(id(value), value), (args, kwargs))
    wanted = tf.nest.flatten(function(*args, **kwargs))
    found = tf.nest.flatten(model(values, training=False))
    return len(wanted) == len(found) and all(
        np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE * max(1.0, float(np.abs(one).max(initial=0))))
        for one, other in zip(map(np.asarray, wanted), map(np.asarray, found), strict=True)
    )
