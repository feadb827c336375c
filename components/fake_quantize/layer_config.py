"""The quantizers of one layer. Imports TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tensorflow_model_optimization.quantization.keras import QuantizeConfig

from components.cells.layer import IntegerRecurrent
from components.cells.quantizers import (
    NEVER,
    ExtremesQuantizer,
    FixedQuantizer,
    HistogramQuantizer,
    LastValueQuantizer,
    MovingAverageQuantizer,
)
from components.cells.weight_quantizer import WeightQuantizer
from components.fake_quantize.custom_objects import Checked, custom_quantizer, own_object
from components.fake_quantize.layer_policy import LayerPolicy
from components.fake_quantize.layers import WEIGHTED
from components.fake_quantize.placement_plan import QuantizerSlot
from components.fine_tune.constraints import shares
from components.spec.steps.fine_tuning import WeightInvariants
from components.spec.steps.qat import ActivationQuantization, CustomQuantizer, Histogram, LastValue, MovingAverage
from components.upstream.autograph import do_not_convert


class LayerConfig(QuantizeConfig):
    """Weight and output quantizers of one rewritten layer.

    Args:
        kernel: The attribute that contains the weights; None quantizes no weights.
        weight_quantizer: Quantizes the weights.
        output_quantizer: Quantizes the output; None for a layer without its own range.
    """

    def __init__(self, kernel: str | None = None, weight_quantizer: Any = None, output_quantizer: Any = None) -> None:
        self.kernel, self.weight_quantizer, self.output_quantizer = kernel, weight_quantizer, output_quantizer

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        """See the base class."""
        return [] if self.kernel is None else [(getattr(layer, self.kernel), self.weight_quantizer)]

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:  # noqa: ARG002
        """Return None, because activations are separate layers in a rewritten model."""
        return []

    @do_not_convert
    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """See the base class."""
        for weights in quantize_weights:
            setattr(layer, str(self.kernel), weights)

    @do_not_convert
    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """See the base class."""

    def get_output_quantizers(self, layer: Any) -> list[Any]:  # noqa: ARG002
        """See the base class."""
        return [] if self.output_quantizer is None else [self.output_quantizer]

    def get_config(self) -> dict[str, Any]:
        """See the base class."""
        return dict(vars(self))


class Quantizers:
    """Creates quantizers of layers for training.

    Args:
        epoch: Training batches per epoch. The ranges of model outputs cover one epoch; 0 covers all batches.
    """

    def __init__(self, epoch: int = 0) -> None:
        self._epoch = epoch

    def output(self, policy: LayerPolicy, delay: int, name: str) -> Any:
        """The quantizer of the output of a layer, or of a point in it."""
        return _output_quantizer(policy, delay, name, self._epoch)

    def weights(self, policy: LayerPolicy, axes: tuple[int, ...], trains: bool, one_range: bool = False) -> Any:
        """The quantizer of weights, with one scale per position along `axes`; all scales are equal with `one_range`."""
        return WeightQuantizer(policy.weight_bits, axes, trains, one_range)

    def fixed(self, policy: LayerPolicy, limits: tuple[float, float] | None = None) -> Any:
        """The quantizer of an output whose scale the kernel prescribes; without limits, that of 16 bits."""
        delay = NEVER if policy.mode == "observed" else 0
        if limits is None:
            return FixedQuantizer(delay=delay)
        return FixedQuantizer(policy.activation_bits, *limits, delay=delay)


def equip(layer: IntegerRecurrent, policy: LayerPolicy, delay: int, quantizers: Quantizers) -> None:
    """Add the quantizers of its policy to a recurrent layer."""
    if policy.mode == "float":
        return
    trains = policy.trains_weights and policy.mode == "trained"
    # The cell state inside the fused LSTM has 16 bits.
    inside = replace(policy, extremes=False)
    wide = replace(inside, activation_bits=16)

    def make(point: str) -> Any:
        if layer.cell.kind == "LSTM" and point == "c":
            return quantizers.output(wide, delay, f"{layer.name}/{point}")
        return quantizers.output(policy if point == "h" else inside, delay, f"{layer.name}/{point}")

    layer.equip(policy.activation_bits, make, quantizers.weights(policy, (), trains))


def layer_config(
    name: str, made: QuantizerSlot, model: Any, delay: int, invariants: WeightInvariants, quantizers: Quantizers
) -> Any:
    """The `QuantizeConfig` of one layer of the rewritten model."""
    policy = made.policy
    if policy.config is not None:
        return own_object(policy.config, QuantizeConfig, "config")
    layer = model.get_layer(name)
    kernel, axes = WEIGHTED[type(layer).__name__] if made.weights else (None, ())
    weights = None
    if made.weights and policy.weight_quantizer is not None:
        weights = Checked(custom_quantizer(policy.weight_quantizer), name)
    elif made.weights:
        trains = policy.trains_weights and policy.mode == "trained"
        one_range = shares(getattr(layer, str(kernel)).numpy(), invariants)
        weights = quantizers.weights(policy, axes if policy.per_channel else (), trains, one_range)
    output: Any = None
    if made.output == "range":
        output = quantizers.output(policy, delay, name)
    elif made.output == "fixed":
        output = quantizers.fixed(policy, made.limits)
    return LayerConfig(kernel, weights, output)


def _output_quantizer(policy: LayerPolicy, delay: int, name: str, epoch: int) -> Any:
    how = policy.activations
    if how is None or policy.mode == "observed":
        how, delay = how or ActivationQuantization(), NEVER
    shared = (policy.activation_bits, how.symmetric, delay)
    if policy.extremes and how.quantizer.kind != "own":
        return ExtremesQuantizer(*shared, epoch=epoch)
    match how.quantizer:
        case MovingAverage(decay=decay):
            return MovingAverageQuantizer(*shared, decay=decay)
        case LastValue():
            return LastValueQuantizer(*shared)
        case Histogram(percentile=percentile, bins=bins):
            return HistogramQuantizer(*shared, percentile=percentile, bins=bins)
        case CustomQuantizer() as own:
            return Checked(custom_quantizer(own), name)
