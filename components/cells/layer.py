"""A Keras layer that decomposes a recurrent layer for integer kernels. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import tensorflow as tf

from components.cells.arithmetic import LEAST_CELL_RANGE, Cell
from components.cells.cells import CELLS
from components.cells.quantizer_ranges import nudged_range
from components.cells.quantizers import ActivationQuantizer
from components.cells.weight_quantizer import WeightQuantizer
from components.upstream.autograph import do_not_convert
from components.upstream.keras import asks_for_shapes

# Ranges that the kernels prescribe: function -> activation bits -> bits, smallest value, largest value.
_FIXED: dict[str, dict[int, tuple[int, float, float]]] = {
    "tanh": {8: (8, -1.0, 1.0 - 2.0**-7), 16: (16, -1.0, 1.0 - 2.0**-15)},
    "sigmoid": {8: (8, 0.0, 1.0 - 2.0**-8), 16: (16, -1.0, 1.0 - 2.0**-15)},
    # Gates of the fused LSTM before and after their activation.
    "gate": {8: (16, -8.0, 8.0 - 2.0**-12)},
    "inner": {8: (16, -1.0, 1.0 - 2.0**-15)},
}


class IntegerRecurrent(tf.keras.layers.Layer):
    """A recurrent layer with separate weights for each gate. It computes in float until it gets quantizers.

    Args:
        cell: `kind` and fields of a `Cell`.
        return_sequences: Whether to return all outputs, [batch, time, units], or only the last one.
        go_backwards: Whether to start at the last time step.
        in_order: Whether to reverse the outputs of a backward layer again, like `Bidirectional`.

    Attributes:
        cell: The cell.
        unrolled: Whether the next call unrolls the time steps.
        watching: Whether an eager call computes in float and passes each point's values to its quantizer.
        trajectory: State name -> its values after each time step [batch, time, units], from the last watching call.
    """

    def __init__(
        self,
        cell: Mapping[str, Any],
        return_sequences: bool,
        go_backwards: bool = False,
        in_order: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        fields = dict(cell)
        self.cell: Cell = CELLS[fields.pop("kind")](**fields)
        self.return_sequences, self.go_backwards, self.in_order = return_sequences, go_backwards, in_order
        self.unrolled = self.watching = False
        self.trajectory: dict[str, Any] = {}
        self.bits = 0
        self._quantizers: dict[str, ActivationQuantizer] = {}
        self._ranges: dict[str, dict[str, Any]] = {}
        # A function, because Keras would track the layers in a list as sublayers.
        self._joined: Callable[[], tuple[IntegerRecurrent, ...]] = tuple

    def build(self, input_shape: Any) -> None:
        """Create the weights, one variable per gate."""
        shapes = self.cell.shapes()
        self.held = {
            name: self.add_weight(name, shape, initializer="zeros" if "bias" in name else "glorot_uniform")
            for name, shape in shapes.items()
        }
        super().build(input_shape)

    def get_prunable_weights(self) -> list[Any]:
        """The matrices whose zeros and shared values training keeps. The name comes from TFMOT's `PrunableLayer`."""
        return [weight for weight in self.held.values() if len(weight.shape) > 1]

    def equip(self, bits: int, make: Callable[[str], ActivationQuantizer], weights: WeightQuantizer) -> None:
        """Add a quantizer for each point, whose activations have `bits` bits, and a weight quantizer."""
        self.bits, self._weights = bits, weights
        for point in (*self.cell.projected(), *self.cell.points()):
            self._quantizers[point] = make(point)
            self._ranges[point] = self._quantizers[point].build(None, point, self)

    def join(self, layers: Sequence[IntegerRecurrent]) -> None:
        """Share one range for the output `h` among `layers`, which include this layer.

        A concatenation kernel has the same scale for inputs and output, and the fused LSTM returns its hidden state
        with the scale of its state. The shared range is the smallest range that includes the ranges of all layers.
        """
        joined = tuple(layers)
        self._joined = lambda: joined

    def ranges(self) -> dict[str, tuple[ActivationQuantizer, dict[str, Any]]]:
        """Point -> its quantizer and the variables of its range."""
        return {point: (quantizer, self.range_of(point)) for point, quantizer in self._quantizers.items()}

    def range_of(self, point: str) -> dict[str, Any]:
        """The variables of a point's range; a joined output has the shared minimum and maximum instead."""
        own = self._ranges[point]
        if point != "h" or not self._joined():
            return own
        held = [layer._ranges["h"] for layer in self._joined()]
        quantizers = [layer._quantizers["h"] for layer in self._joined()]
        low, high = nudged_range(
            tf.reduce_min([one["min_var"] for one in held]),
            tf.reduce_max([one["max_var"] for one in held]),
            quantizers[0].bits,
            any(quantizer.symmetric for quantizer in quantizers),
        )
        return {**own, "min_var": low, "max_var": high}

    @do_not_convert
    def call(self, inputs: Any, training: Any = None) -> Any:
        """From [batch, time, features] to [batch, time, units], or [batch, units]."""
        if asks_for_shapes():
            # Building the loop takes most of the time of copying a model.
            return tf.compat.v1.placeholder(self.compute_dtype, self.compute_output_shape(inputs.shape))
        training = tf.keras.backend.learning_phase() if training is None else training
        # The learning phase is 0 or 1 unless it is a tensor.
        training = bool(training) if isinstance(training, int) else training
        outer = _Numbers(self, training)
        xs = self.cell.project(outer, inputs)
        if self.unrolled:
            frames = self._unroll(xs)
            if not self.return_sequences:
                return frames[-1]
            turned = self.go_backwards and self.in_order
            return tf.stack(frames[::-1] if turned else frames, axis=1)
        outputs, seen = self._loop(xs, training)
        self._update({**outer.seen, **seen}, training)
        if not self.return_sequences:
            return outputs[:, -1]
        return tf.reverse(outputs, [1]) if self.go_backwards and self.in_order else outputs

    def frame(self, inputs: Any, states: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One time step: from [batch, features] and states [batch, units] to the output and new states."""
        numbers = _Numbers(self, False)
        entered = {name: self.cell.enter(numbers, name, value) for name, value in states.items()}
        return self.cell.step(numbers, self.cell.project(numbers, inputs), entered)

    def _loop(self, xs: tuple[Any, ...], training: Any) -> tuple[Any, dict[str, Any]]:
        names = self.cell.states
        # The loop would quantize the weights at each time step, and keep what their gradient needs for each.
        same = _Numbers(self, training).same_at_each_step()

        def step(inputs: Any, states: Any) -> tuple[Any, list[Any]]:
            numbers = _Numbers(self, training, same)
            output, after = self.cell.step(numbers, inputs, dict(zip(names, states, strict=True)))
            # The values that the ranges are computed from leave the loop with the outputs.
            return (output, numbers.seen, after), [after[name] for name in names]

        zeros = tf.zeros([tf.shape(xs[0])[0], self.cell.units])
        _, (outputs, seen, states), _ = tf.keras.backend.rnn(
            step, xs, [zeros for _ in names], go_backwards=self.go_backwards, zero_output_for_mask=False
        )
        if self.watching:
            self.trajectory = states
        return outputs, seen

    def _unroll(self, xs: tuple[Any, ...]) -> list[Any]:
        numbers = _Numbers(self, False)
        frames = list(zip(*(self._frames(x, index) for index, x in enumerate(xs)), strict=True))
        # The converter would fold a constant zero into float constants, but it does not fold this expression.
        nothing = frames[0][0] - frames[0][0]
        states = {name: self.cell.enter(numbers, name, nothing) for name in self.cell.states}
        outputs = []
        for index, frame in enumerate(frames[::-1] if self.go_backwards else frames):
            with tf.name_scope(step_scope(self.name, index)):
                output, states = self.cell.step(numbers, frame, states)
            outputs.append(output)
        return outputs

    def _frames(self, x: Any, index: int) -> list[Any]:
        if self.return_sequences or index not in self.cell.for_output():
            return tf.unstack(x, axis=1)
        # Unused unpacked tensors keep the converter from quantizing the used ones.
        nothing = [None] * (x.shape[1] - 1)
        return [x[:, 0], *nothing] if self.go_backwards else [*nothing, x[:, -1]]

    def _update(self, seen: Mapping[str, Any], training: Any) -> None:
        """Update the ranges of the points with the values of all time steps."""
        if self.watching:
            for point, values in seen.items():
                self._quantizers[point].observe(values.numpy())
        elif training is not False and self._quantizers:
            for point, values in seen.items():
                low, high = self._quantizers[point].new_range(values, self._ranges[point])
                low, high = self.settled(point, low, high)
                grows = tf.cast(training, tf.bool)
                held = self._ranges[point]
                held["min_var"].assign(tf.where(grows, low, held["min_var"]))
                held["max_var"].assign(tf.where(grows, high, held["max_var"]))
                held["batches"].assign_add(tf.cast(grows, tf.int64))

    def settled(self, point: str, low: Any, high: Any) -> tuple[Any, Any]:
        """The range, adjusted to one that the kernels can represent."""
        if self.cell.kind == "LSTM" and point == "c":
            most = tf.maximum(tf.maximum(-low, high), LEAST_CELL_RANGE)
            power = 2.0 ** tf.math.ceil(tf.math.log(most) / tf.math.log(2.0))
            return -power, power * (1.0 - 2.0**-15)
        quantizer = self._quantizers[point]
        return nudged_range(low, high, quantizer.bits, quantizer.symmetric)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See the base class."""
        batch, time = input_shape[0], input_shape[1]
        return tf.TensorShape([batch, time, self.cell.units] if self.return_sequences else [batch, self.cell.units])

    def get_config(self) -> dict[str, Any]:
        """The configuration for `from_config`, without quantizers."""
        return {
            **super().get_config(),
            "cell": described(self.cell),
            "return_sequences": self.return_sequences,
            "go_backwards": self.go_backwards,
            "in_order": self.in_order,
        }


class _Numbers:
    """The arithmetic of one call: in float, watched, or fake-quantized. In a loop, `same` comes from outside it."""

    def __init__(self, layer: IntegerRecurrent, training: Any, same: Mapping[str, Any] | None = None) -> None:
        self._layer, self._training, self._same = layer, training, same or {}
        self._quantizes = bool(layer.bits) and not layer.watching
        self.seen: dict[str, Any] = {}

    def same_at_each_step(self) -> dict[str, Any]:
        """The quantized weights that a time step reads, by name, and each point's range and whether it applies."""
        if not self._quantizes:
            return {}
        held = self._layer.held
        read = [name for name in held if "bias" not in name and not name.startswith("kernel")]
        found = {name: self.kernel(name) if len(held[name].shape) > 1 else self.vector(name) for name in read}
        for point in self._layer.cell.points():
            ends, applies = self._range(point)
            found[point] = {end: tf.convert_to_tensor(ends[end]) for end in ("min_var", "max_var")}, applies
        return found

    def kernel(self, name: str) -> Any:
        if name in self._same:
            return self._same[name]
        value = self._layer.held[name]
        return self._layer._weights(value, self._training, weights={}) if self._quantizes else value

    def vector(self, name: str) -> Any:
        """See `Arithmetic`. The kernel treats it as a constant activation with the range of its values."""
        if name in self._same:
            return self._same[name]
        value = self._layer.held[name]
        if not self._quantizes:
            return value
        bits = self._layer.bits
        ends = nudged_range(tf.reduce_min(value), tf.reduce_max(value), bits, bits == 16)
        low, high = (tf.stop_gradient(end) for end in ends)
        return tf.quantization.fake_quant_with_min_max_vars(value, low, high, num_bits=bits)

    def bias(self, name: str) -> Any:
        return self._layer.held[name]

    def ranged(self, point: str, value: Any) -> Any:
        if not self._layer.bits:
            return value
        if self._layer.watching or self._training is not False:
            self.seen[point] = tf.stop_gradient(value)
        if not self._quantizes:
            return value
        if point in self._same:
            held, applies = self._same[point]
            # The loop's gradient would add up the gradient of the range over the time steps.
            held = {key: tf.stop_gradient(end) for key, end in held.items()}
        else:
            held, applies = self._range(point)
        quantized = self._layer._quantizers[point].quantize(value, held)
        return quantized if applies is None else tf.where(applies, quantized, value)

    def _range(self, point: str) -> tuple[dict[str, Any], Any]:
        """The variables of a point's range, and whether it is applied; None means always."""
        quantizer, held = self._layer._quantizers[point], self._layer.range_of(point)
        if self._training is False:
            return held, None
        late = held["batches"] > max(quantizer.delay, 0) if quantizer.delay >= 0 else tf.constant(False)
        return held, tf.logical_or(late, tf.logical_not(tf.cast(self._training, tf.bool)))

    def fixed(self, function: str, value: Any) -> Any:
        if not self._quantizes:
            return value
        bits, low, high = _FIXED[function][self._layer.bits]
        return tf.quantization.fake_quant_with_min_max_args(value, low, high, num_bits=bits)


def described(cell: Cell) -> dict[str, Any]:
    """`kind` and fields of a cell."""
    return {"kind": cell.kind, **asdict(cell)}


def step_scope(layer: str, index: int) -> str:
    """The name scope of one time step of an unrolled layer."""
    return f"{layer}/step_{index}"
