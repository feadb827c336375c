"""Functions for adding layers to a model while it is rewritten. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from components.fake_quantize.operators.layer import Operator, described

_layers = tf.keras.layers


class NewLayer(Protocol):
    """Creates a layer, or returns the existing one of that name, because calls of a shared layer share it."""

    def __call__(
        self,
        kind: Any,
        name: str,
        origin: str,
        config: Mapping[str, Any],
        weights: Callable[[Any], list[Any]] | None = None,
        like: Any = None,
    ) -> Any:
        """Create a layer of a class, or return it."""


# Applies an activation function to a tensor in layers of a name, which come from a layer of a different name.
Activate = Callable[[Any, Any, str, str], Any]


class Parts:
    """Adds the layers that one layer of the user's model is rewritten as.

    Args:
        new: Creates a layer.
        name: The layer's name. The last part has the same name, because names of layers are names of outputs.
        activate: Applies an activation function to a tensor.
        origin: Name of the layer of the user's model, if it is different.
        coarse: Whether activations have 8 bits, so that parts must not need finer steps.
    """

    def __init__(self, new: NewLayer, name: str, activate: Activate, origin: str = "", *, coarse: bool = False) -> None:
        self._new, self.name, self._activate, self.origin = new, name, activate, origin or name
        self.coarse = coarse

    def of(self, origin: str) -> Parts:
        """The same, for a part of the layer of a different name."""
        return Parts(self._new, self.name, self._activate, origin, coarse=self.coarse)

    def named(self, suffix: str) -> str:
        """The name of a part; without a suffix, the name of the last part."""
        return f"{self.name}/{suffix}" if suffix else self.name

    def layer(
        self,
        kind: Any,
        suffix: str,
        config: Mapping[str, Any],
        inputs: Any,
        weights: list[Any] | None = None,
        trainable: bool | None = None,
    ) -> Any:
        """Call a new layer, with its weights unless they are None."""
        config = dict(config) if trainable is None else {**config, "trainable": trainable}
        values = None if weights is None else (lambda _: weights)
        made = self._new(kind, self.named(suffix), self.origin, config, values)
        if trainable is not None:
            made.layer.trainable = trainable
        return made(inputs)

    def function(self, function: str, suffix: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function of TensorFlow by its public name."""
        call, tensors = described(args, kwargs)
        inputs = tensors if len(tensors) > 1 else tensors[0]
        types = [] if all(one.dtype.is_floating for one in tensors) else [one.dtype.name for one in tensors]
        return self.layer(Operator, suffix, {"function": function, "call": call, "types": types}, inputs)

    def activation(self, function: Any, suffix: str, x: Any) -> Any:
        """Apply an activation function, given by its name or as a function."""
        return self._activate(x, tf.keras.activations.get(function), self.named(suffix), self.origin)

    def reshape(self, suffix: str, shape: tuple[int, ...], x: Any) -> Any:
        """Reshape all axes but the batch."""
        return self.layer(_layers.Reshape, suffix, {"target_shape": shape}, x)

    def product(self, suffix: str, x: Any, y: Any) -> Any:
        """Multiply tensors."""
        return self.function("math.multiply", suffix, x, y)

    def average(self, suffix: str, inputs: Sequence[Any]) -> Any:
        """The average of tensors, two of which are added at a time, so that each partial sum gets a range."""
        y, *others = inputs
        for index, x in enumerate(others, start=1):
            y = self.layer(_layers.Add, f"sum_{index}", {}, [y, x])
        return self.product(suffix, y, 1.0 / len(inputs))

    def scaled(self, suffix: str, x: Any, factor: Any, shift: Any = None, *, trainable: bool) -> Any:
        """Multiply each channel by a factor, and add a term: a depthwise 1x1 convolution.

        Args:
            suffix: Name of the part.
            x: The tensor, [batch, ..., channels].
            factor: The factors, [channels].
            shift: The terms, [channels]; None for no terms.
            trainable: Whether they train.
        """
        channels, rank = len(factor), x.shape.rank
        # Above rank 4, merge all axes between the batch and the last two.
        shape = (*([1] * (4 - rank)), *tuple(x.shape[1:])) if rank < 4 else (-1, *tuple(x.shape[-2:]))
        shape = tuple(-1 if size is None else size for size in shape)
        weights = [factor.reshape(1, 1, channels, 1)] + ([] if shift is None else [shift])
        upright = x if rank == 4 else self.reshape(f"{suffix or 'scale'}/upright", shape, x)
        config = {"kernel_size": 1, "use_bias": shift is not None}
        y = self.layer(_layers.DepthwiseConv2D, suffix, config, upright, weights, trainable)
        if rank == 4:
            return y
        back = tuple(-1 if size is None else size for size in x.shape[1:])
        return self.reshape(f"{suffix}/flat" if suffix else "flat", back, y)

    def scaled_along(self, axis: Any, x: Any, factor: Any, shift: Any, *, trainable: bool) -> Any:
        """Like `scaled`, with a factor and a term for each position along an axis other than the last."""
        (axis,) = [axis] if isinstance(axis, int) else axis
        axis %= x.shape.rank
        if axis == x.shape.rank - 1:
            return self.scaled("", x, factor, shift, trainable=trainable)
        order = [*(one for one in range(1, x.shape.rank) if one != axis), axis]
        moved = self.layer(_layers.Permute, "moved", {"dims": order}, x)
        y = self.scaled("scaled", moved, factor, shift, trainable=trainable)
        return self.layer(_layers.Permute, "", {"dims": [order.index(one) + 1 for one in range(1, x.shape.rank)]}, y)
