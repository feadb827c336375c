"""A TensorFlow function of one or more tensors as a Keras layer. Imports TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.upstream.autograph import do_not_convert
from components.upstream.keras import function_named, is_symbolic
from components.upstream.tfmot import smart_cond

# The longest constant that a layer's configuration can contain.
_LARGEST_CONSTANT = 1 << 16


class NotDescribable(ValueError):  # noqa: N818 - caught as a condition, never reported
    """An argument that a configuration can't contain."""


@tf.keras.utils.register_keras_serializable("edgemill")
class Operator(tf.keras.layers.Layer):
    """Calls a public function of TensorFlow.

    Unlike a `TFOpLambda`, it takes its tensors as one argument, the way wrappers call layers, and its configuration
    contains the other arguments.

    Args:
        function: The function's public name (`math.add`).
        call: The arguments as `described` returns them.
        types: The types of its tensors, in order; empty if all are floats.
    """

    def __init__(self, function: str, call: str, types: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function, self.arguments, self.types = function, call, tuple(types)

    @do_not_convert
    def call(self, inputs: Any, training: Any = None) -> Any:
        """Call the function with the tensors in their positions."""
        tensors = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if self.function == "math.rsqrt":
            tensors = [_positive(tensors[0], training)]
        args, kwargs = _restored(json.loads(self.arguments), tensors)
        return function_named(self.function)(*args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape for tensors of its types. Keras would assume that all of them are floats."""
        if not self.types:
            return super().compute_output_shape(input_shape)
        shapes = input_shape if len(self.types) > 1 else [input_shape]
        with tf.Graph().as_default():
            given = [tf.compat.v1.placeholder(kind, shape) for kind, shape in zip(self.types, shapes, strict=True)]
            return tf.nest.map_structure(lambda tensor: tensor.shape, self.call(given, training=False))

    def get_config(self) -> dict[str, Any]:
        """The configuration for `from_config`."""
        return {**super().get_config(), "function": self.function, "call": self.arguments, "types": list(self.types)}


def described(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The arguments of a call as text, and the symbolic tensors among them, in order.

    Raises:
        NotDescribable: An argument is neither a tensor nor a constant of moderate size.
    """
    tensors: list[Any] = []
    held = _described([list(args), {key: value for key, value in kwargs.items() if key != "name"}], tensors)
    return json.dumps(held), tensors


def _described(value: Any, tensors: list[Any]) -> Any:
    if is_symbolic(value):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, slice):
        return {"slice": [_described(part, tensors) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, Mapping) and set(value) == {"start", "stop", "step"}:
        # Keras keeps slices as dictionaries.
        return {"slice": [_described(value[key], tensors) for key in ("start", "stop", "step")]}
    if isinstance(value, Mapping):
        return {"map": {str(key): _described(one, tensors) for key, one in value.items()}}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_described(one, tensors) for one in value]}
    if isinstance(value, tf.DType):
        return {"dtype": value.name}
    if isinstance(value, np.ndarray | np.generic) or tf.is_tensor(value):
        array = np.asarray(value)
        if array.size <= _LARGEST_CONSTANT and array.dtype.kind in "fiub":
            return {"array": array.tolist(), "of": array.dtype.name}
    raise NotDescribable(type(value).__name__)


def _restored(value: Any, tensors: list[Any]) -> Any:
    if not isinstance(value, Mapping):
        return value
    (kind, held), *_ = value.items()
    match kind:
        case "tensor":
            return tensors[held]
        case "ellipsis":
            return Ellipsis
        case "slice":
            return slice(*(_restored(part, tensors) for part in held))
        case "map":
            return {key: _restored(one, tensors) for key, one in held.items()}
        case "tuple" | "list":
            return (tuple if kind == "tuple" else list)(_restored(one, tensors) for one in held)
        case "dtype":
            return tf.as_dtype(held)
        case _:
            return tf.constant(held, value["of"])


def _positive(x: Any, training: Any) -> Any:
    """In training, replace zeros, which quantization can make from small values, with the smallest value above zero.

    Outside training, the reciprocal root of zero is infinite, and becomes the end of its range, as in the kernel.
    """
    above = x > 0

    def replaced() -> Any:
        least = tf.reduce_min(tf.where(above, x, tf.fill(tf.shape(x), x.dtype.max)))
        return tf.where(above, x, tf.stop_gradient(tf.where(least == x.dtype.max, tf.ones_like(least), least)))

    return smart_cond(False if training is None else training, replaced, lambda: tf.identity(x))
