"""The fake quantizer of weights. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_model_optimization.quantization.keras import quantizers

from components.upstream.autograph import do_not_convert
from components.upstream.keras import asks_for_shapes
from components.upstream.tfmot import smart_cond


class WeightQuantizer(quantizers.Quantizer):
    """Symmetric quantization of a weight tensor with the range of its current values, which is never out of date.

    Args:
        bits: 8 or 4. The smallest integer is unused, so that the range is symmetric (`[-127, 127]`).
        axes: The axes that together have one scale per position; empty for a single scale.
        trains: False leaves the weights unquantized in training.
        one_range: Whether all scales are equal, so that equal weights of different channels become equal integers: one
            for each value of a clustered weight tensor. When the converter folds batch normalization, it multiplies the
            scales, not the integers.
    """

    def __init__(self, bits: int = 8, axes: tuple[int, ...] = (), trains: bool = True, one_range: bool = False) -> None:
        self.bits, self.axes, self.trains, self.one_range = bits, tuple(axes), trains, one_range

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:  # noqa: ARG002
        """Return no variables: the range comes from the current weights."""
        return {}

    @do_not_convert
    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **_: Any) -> Any:  # noqa: ARG002
        """Quantize, but not in training if `trains` is False."""
        if asks_for_shapes():
            # A wrapper sets its layer's attribute to this, and would contain a variable twice.
            return tf.convert_to_tensor(inputs)
        if self.trains:
            return self._quantize(inputs)
        return smart_cond(training, lambda: tf.identity(inputs), lambda: self._quantize(inputs))

    def _quantize(self, inputs: Any) -> Any:
        if not self.axes:
            most = _not_zero(tf.stop_gradient(tf.reduce_max(tf.abs(inputs))))
            return tf.quantization.fake_quant_with_min_max_vars(
                inputs, -most, most, num_bits=self.bits, narrow_range=True
            )
        # The operator supports only the last axis; the converter handles the reshape. In the weights of all layers, the
        # axes with scales come last (depthwise weights are [h, w, channels, multiplier]).
        scales = 1
        for axis in self.axes:
            scales *= inputs.shape[axis]
        flat = inputs if len(self.axes) == 1 else tf.reshape(inputs, [*inputs.shape[: -len(self.axes)], scales])
        over = None if self.one_range else list(range(flat.shape.rank - 1))
        most = tf.stop_gradient(tf.reduce_max(tf.abs(flat), over))
        most = _not_zero(tf.broadcast_to(most, [scales]))
        quantized = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            flat, -most, most, num_bits=self.bits, narrow_range=True
        )
        return quantized if len(self.axes) == 1 else tf.reshape(quantized, inputs.shape)

    def get_config(self) -> dict[str, Any]:
        """The configuration for `from_config`."""
        return {"bits": self.bits, "axes": self.axes, "trains": self.trains, "one_range": self.one_range}


def _not_zero(most: Any) -> Any:
    """A lower bound for the range of a channel of (near) zeros, so that its bias in units of the scale fits in 32
    bits."""
    return tf.maximum(most, 2.0**-16)
