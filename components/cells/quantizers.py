"""Activation quantizers: how a tensor is quantized in training, and where its range comes from. Imports TensorFlow.

All are `tfmot.quantization.keras.quantizers.Quantizer`s with two methods. `build` creates the variables of the range;
`__call__` updates them in training and quantizes. They match TFLite's integer kernels: a real value is
`(q - zero_point) * scale` with q from -2^(bits-1) to 2^(bits-1) - 1.

They run in graph mode, with a Python bool or a tensor as `training`, and under `tf.distribute`, where each replica
uses the values of all replicas.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_model_optimization.quantization.keras import quantizers

from components.cells.quantizer_ranges import batch_range, nudged_range, summed_over_replicas
from components.upstream.autograph import do_not_convert
from components.upstream.keras import asks_for_shapes
from components.upstream.tfmot import smart_cond

# A delay that never ends: the range is only observed in training, and applied afterward.
NEVER = -1


class ActivationQuantizer(quantizers.Quantizer):
    """Base class of activation quantizers, whose range is updated with every training batch.

    Args:
        bits: 8, with any zero point, or 16, always symmetric like the kernels.
        symmetric: Whether the zero point is 0.
        delay: Training batches before values are quantized in training. `NEVER` only observes the range. Outside
            training, values are always quantized.
    """

    def __init__(self, bits: int = 8, symmetric: bool = False, delay: int = 0) -> None:
        self.bits, self.symmetric, self.delay = bits, symmetric or bits == 16, delay

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:  # noqa: ARG002
        """Create the variables `min`, `max`, and `batches` (training batches seen), and the subclass's variables."""
        return {
            "min_var": _variable(layer, f"{name}_min"),
            "max_var": _variable(layer, f"{name}_max"),
            "batches": _variable(layer, f"{name}_batches", dtype=tf.int64),
            **self.build_more(name, layer),
        }

    def build_more(self, name: str, layer: Any) -> dict[str, Any]:  # noqa: ARG002
        """Create the variables of a subclass."""
        return {}

    def new_range(self, inputs: Any, weights: dict[str, Any]) -> tuple[Any, Any]:
        """The smallest and largest value to represent after one more batch. May update the subclass's variables."""
        raise NotImplementedError

    @do_not_convert
    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **_: Any) -> Any:
        """Quantize. In training, update the range first."""
        if asks_for_shapes():
            return inputs
        return smart_cond(training, lambda: self._train(inputs, weights), lambda: self.quantize(inputs, weights))

    def _train(self, inputs: Any, weights: dict[str, Any]) -> Any:
        low, high = nudged_range(*self.new_range(inputs, weights), self.bits, self.symmetric)
        with tf.control_dependencies([weights["min_var"].assign(low), weights["max_var"].assign(high)]):
            seen = weights["batches"].assign_add(1, read_value=True)
        if self.delay == NEVER:
            with tf.control_dependencies([seen]):
                return tf.identity(inputs)
        if self.delay == 0:
            with tf.control_dependencies([seen]):
                return self.quantize(inputs, weights)
        return tf.cond(seen > self.delay, lambda: self.quantize(inputs, weights), lambda: tf.identity(inputs))

    def quantize(self, inputs: Any, weights: dict[str, Any]) -> Any:
        """Quantize with the current range, without updating it."""
        return tf.quantization.fake_quant_with_min_max_vars(
            inputs, weights["min_var"], weights["max_var"], num_bits=self.bits
        )

    def get_config(self) -> dict[str, Any]:
        """The configuration for `from_config`."""
        return {"bits": self.bits, "symmetric": self.symmetric, "delay": self.delay}


class MovingAverageQuantizer(ActivationQuantizer):
    """Exponential moving average of each batch's smallest and largest value (Jacob et al. 2018, 3.1).

    The first batch initializes the range. TFMOT's quantizer starts at -6..6 and keeps 0.999 of it per batch, so its
    range depends on the data only after thousands of batches.
    """

    def __init__(self, bits: int = 8, symmetric: bool = False, delay: int = 0, decay: float = 0.95) -> None:
        super().__init__(bits, symmetric, delay)
        self.decay = decay

    def build_more(self, name: str, layer: Any) -> dict[str, Any]:
        """Create the averages.

        They are separate from the range, which is adjusted for the kernels. Averaging a symmetric range would feed its
        wider side back and grow without bound; averaging any other would lose changes of less than half a step.
        """
        return {"low": _variable(layer, f"{name}_average_low"), "high": _variable(layer, f"{name}_average_high")}

    def new_range(self, inputs: Any, weights: dict[str, Any]) -> tuple[Any, Any]:
        """See the base class."""
        low, high = batch_range(inputs)
        kept = tf.where(weights["batches"] == 0, 0.0, self.decay)
        return (
            weights["low"].assign(kept * weights["low"] + (1 - kept) * low, read_value=True),
            weights["high"].assign(kept * weights["high"] + (1 - kept) * high, read_value=True),
        )

    def get_config(self) -> dict[str, Any]:
        """See the base class."""
        return {**super().get_config(), "decay": self.decay}


class LastValueQuantizer(ActivationQuantizer):
    """Range of the last training batch."""

    def new_range(self, inputs: Any, weights: dict[str, Any]) -> tuple[Any, Any]:  # noqa: ARG002
        """See the base class."""
        return batch_range(inputs)


class ExtremesQuantizer(ActivationQuantizer):
    """Range of all values of an epoch, for model outputs: a clipped output is wrong and gets no gradient.

    During an epoch, the range also includes the previous epoch. At its end, the range includes only its own values.

    Args:
        epoch: Training batches in an epoch; 0 keeps the extremes of all batches.
        bits, symmetric, delay: See `ActivationQuantizer`.
    """

    def __init__(self, bits: int = 8, symmetric: bool = False, delay: int = 0, epoch: int = 0) -> None:
        super().__init__(bits, symmetric, delay)
        self.epoch = epoch

    def build_more(self, name: str, layer: Any) -> dict[str, Any]:
        """Create the extremes of this and the previous epoch. They start at zero, because every range includes it."""
        return {key: _variable(layer, f"{name}_{key}") for key in ("low", "high", "last_low", "last_high")}

    def new_range(self, inputs: Any, weights: dict[str, Any]) -> tuple[Any, Any]:
        """See the base class."""
        low, high = batch_range(inputs)
        place = tf.math.floormod(tf.identity(weights["batches"]), self.epoch or tf.int64.max)
        starts, ends = place == 0, place == (self.epoch or tf.int64.max) - 1
        earlier_low, earlier_high = tf.identity(weights["low"]), tf.identity(weights["high"])
        last_low = tf.where(starts, earlier_low, weights["last_low"])
        last_high = tf.where(starts, earlier_high, weights["last_high"])
        low = tf.where(starts, low, tf.minimum(earlier_low, low))
        high = tf.where(starts, high, tf.maximum(earlier_high, high))
        kept = {"low": low, "high": high, "last_low": last_low, "last_high": last_high}
        with tf.control_dependencies([weights[key].assign(value) for key, value in kept.items()]):
            return (tf.where(ends, low, tf.minimum(low, last_low)), tf.where(ends, high, tf.maximum(high, last_high)))

    def get_config(self) -> dict[str, Any]:
        """See the base class."""
        return {**super().get_config(), "epoch": self.epoch}


class HistogramQuantizer(ActivationQuantizer):
    """Range of a percentile of all values seen, from a running histogram.

    The histogram spans all values seen so far. If a batch exceeds the span, each count moves to the bin of the wider
    span that includes its center. The range cuts off half of the excluded values at each end, to within one bin. This
    is the percentile calibration of Wu et al. 2020 (arXiv:2004.09602, section 5), continued during training.

    Args:
        percentile: Share of the values inside the range, in percent.
        bins: Number of bins.
        bits, symmetric, delay: See `ActivationQuantizer`.
    """

    def __init__(
        self, bits: int = 8, symmetric: bool = False, delay: int = 0, percentile: float = 99.9, bins: int = 2048
    ) -> None:
        super().__init__(bits, symmetric, delay)
        self.percentile, self.bins = percentile, bins

    def build_more(self, name: str, layer: Any) -> dict[str, Any]:
        """Create the counts of the bins, and their span."""
        return {
            "counts": _variable(layer, f"{name}_counts", shape=(self.bins,)),
            "low": _variable(layer, f"{name}_low"),
            "high": _variable(layer, f"{name}_high"),
        }

    def new_range(self, inputs: Any, weights: dict[str, Any]) -> tuple[Any, Any]:
        """See the base class."""
        batch_low, batch_high = batch_range(inputs)
        old_low, old_high, counts = (tf.identity(weights[name]) for name in ("low", "high", "counts"))
        first = weights["batches"] == 0
        low = tf.where(first, batch_low, tf.minimum(old_low, batch_low))
        high = tf.where(first, batch_high, tf.maximum(old_high, batch_high))
        # If all values are equal, use a small span, which later values can widen.
        high = tf.where(high > low, high, low + tf.maximum(1e-6, 1e-3 * tf.abs(low)))
        middles = old_low + (tf.range(self.bins, dtype=tf.float32) + 0.5) * (old_high - old_low) / self.bins
        moved = tf.math.unsorted_segment_sum(counts, self._bin_of(middles, low, high), self.bins)
        kept = tf.cond((low == old_low) & (high == old_high), lambda: counts, lambda: moved)
        new = tf.math.bincount(
            self._bin_of(tf.reshape(inputs, [-1]), low, high),
            minlength=self.bins,
            maxlength=self.bins,
            dtype=tf.float32,
        )
        counts = kept + summed_over_replicas(tf.ensure_shape(new, [self.bins]))
        with tf.control_dependencies(
            [weights["counts"].assign(counts), weights["low"].assign(low), weights["high"].assign(high)]
        ):
            cumulative = tf.cumsum(tf.identity(counts))
        outside = cumulative[-1] * (1 - self.percentile / 100) / 2
        width = (high - low) / self.bins
        # The first and the last bin whose values stay inside the range.
        first_bin = tf.reduce_sum(tf.cast(cumulative <= outside, tf.float32))
        last_bin = tf.reduce_sum(tf.cast(cumulative < cumulative[-1] - outside, tf.float32))
        return low + first_bin * width, tf.minimum(high, low + (last_bin + 1) * width)

    def _bin_of(self, values: Any, low: Any, high: Any) -> Any:
        place = (values - low) / (high - low) * self.bins
        return tf.clip_by_value(tf.cast(place, tf.int32), 0, self.bins - 1)

    def get_config(self) -> dict[str, Any]:
        """See the base class."""
        return {**super().get_config(), "percentile": self.percentile, "bins": self.bins}


class FixedQuantizer(quantizers.Quantizer):
    """A range that the operator's kernel prescribes: [-1, 1) for a 16-bit sigmoid, tanh, or softmax."""

    def __init__(self, bits: int = 16, low: float = -1.0, high: float = 1.0 - 2.0**-15, delay: int = 0) -> None:
        self.bits, self.low, self.high, self.delay = bits, low, high, delay

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:  # noqa: ARG002
        """Return no variables: the range is fixed."""
        return {}

    @do_not_convert
    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **_: Any) -> Any:  # noqa: ARG002
        """Quantize, but not in training with the delay `NEVER`."""
        if asks_for_shapes():
            return inputs
        if self.delay == NEVER:
            return smart_cond(training, lambda: tf.identity(inputs), lambda: self.quantize(inputs))
        return self.quantize(inputs)

    def quantize(self, inputs: Any) -> Any:
        """Quantize with the prescribed range."""
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high, num_bits=self.bits)

    def get_config(self) -> dict[str, Any]:
        """The configuration for `from_config`."""
        return {"bits": self.bits, "low": self.low, "high": self.high, "delay": self.delay}


def _variable(layer: Any, name: str, shape: tuple[int, ...] = (), dtype: Any = tf.float32) -> Any:
    # Each replica has its own variable, and all compute the same value from the gathered batches.
    return layer.add_weight(
        name,
        shape=shape,
        dtype=dtype,
        initializer="zeros",
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
