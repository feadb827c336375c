"""Properties of Keras layers and models that the rewriting uses. Imports TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from components.cells.cells import CELLS
from components.cells.plan import inner, is_recurrent, why_not, written_out_in_training
from components.fake_quantize.layers import NO_ACTIVATION, USING_MASKS
from components.upstream.keras import is_graph, is_masked, layers_that_read, nodes_in_order

_layers = tf.keras.layers
# Size attributes of a one-dimensional convolution, which get a leading 1 in the two-dimensional version.
SIZES = ("kernel_size", "strides", "dilation_rate")
# One-dimensional convolution -> the two-dimensional one.
UPRIGHT = {
    "Conv1D": _layers.Conv2D,
    "DepthwiseConv1D": _layers.DepthwiseConv2D,
    "SeparableConv1D": _layers.SeparableConv2D,
    "Conv1DTranspose": _layers.Conv2DTranspose,
}
MERGES = {"concat": _layers.Concatenate, "sum": _layers.Add, "mul": _layers.Multiply}


def activation_name(function: Any) -> str | None:
    """The name of an activation function; None if it has no usable name."""
    if function is None:
        return NO_ACTIVATION
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) and name != "<lambda>" else None


class WithWeights:
    """A new layer whose weights are set on its first call."""

    def __init__(self, layer: Any, weights: Callable[[Any], list[Any]] | None) -> None:
        self.layer, self._weights = layer, weights
        self.called_on: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer, and set its weights on the first call."""
        self.called_on = args[0] if args else None
        outputs = self.layer(*args, **kwargs)
        if self._weights is not None:
            self.layer.set_weights(self._weights(self.layer))
            self._weights = None
        return outputs


def itself(layer: Any) -> Any:
    """The layer, or the dense layer inside a TimeDistributed: Dense applies to the last axis at any rank."""
    if type(layer).__name__ == "TimeDistributed" and type(layer.layer).__name__ == "Dense":
        return layer.layer
    return layer


def written_out(layer: Any) -> bool:
    """Whether a recurrent layer is rewritten as a cell for integer kernels."""
    return type(inner(layer)).__name__ in CELLS and why_not(layer) is None


def refusal_of(node: Any, model: Any) -> tuple[str, str] | None:
    """Why no integer kernel can compute a recurrent layer, a layer that uses a mask, or dilated copies, and the fix."""
    if node.is_input:
        return None
    if is_recurrent(node.layer) and written_out_in_training(node.layer):
        return None
    if is_recurrent(node.layer):
        refusal = why_not(node.layer)
        return (refusal.reason, refusal.remedy) if refusal else None
    if type(node.layer).__name__ in USING_MASKS and any(map(is_masked, tf.nest.flatten(node.keras_inputs))):
        return (
            "its inputs are masked, and integer kernels use every time step",
            "remove the Masking layer (or mask_zero), and train on padded sequences as they are",
        )
    if others := _dilated_twins(node, model):
        return (
            f"it reads the same tensor with the same dilation as {', '.join(others)}, and the converter merges part "
            "of both and leaves that part in float",
            "combine them into one layer with the sum of their filters, and slice its output; or use static_wi8_ai8 "
            "without "
            "this step",
        )
    return None


def _dilated_twins(node: Any, model: Any) -> list[str]:
    """The names of a model's other depthwise convolutions of a layer's input with the same windows and dilation."""

    def window(layer: Any) -> Any:
        if not type(layer).__name__.startswith(("Depthwise", "Separable")):
            return None
        dilation = getattr(layer, "dilation_rate", ())
        is_dilated = any(rate > 1 for rate in (dilation if isinstance(dilation, tuple) else (dilation,)))
        return (layer.kernel_size, dilation, layer.padding) if is_dilated else None

    mine = window(node.layer)
    if mine is None:
        return []
    (tensor,) = tf.nest.flatten(node.keras_inputs)
    others = [layer for layer in layers_that_read(tensor) if layer is not node.layer and layer in model.layers]
    return [layer.name for layer in others if window(layer) == mine]


def call_counts(model: Any, prefix: str = "") -> Counter[str]:
    """Number of calls of each layer; layers of nested models have their full name."""
    calls: Counter[str] = Counter()
    for node in nodes_in_order(model):
        name = f"{prefix}{node.layer.name}"
        calls[name] += not node.is_input
        if is_graph(node.layer):
            calls.update(call_counts(node.layer, f"{name}/"))
    return calls


def reader_counts(model: Any) -> dict[int, int]:
    """Number of nodes and model outputs that read each tensor of a model."""
    counts: dict[int, int] = {}
    for node in nodes_in_order(model):
        for tensor in [] if node.is_input else node.keras_inputs:
            counts[id(tensor)] = counts.get(id(tensor), 0) + 1
    for tensor in model.outputs:
        counts[id(tensor)] = counts.get(id(tensor), 0) + 1
    return counts


def upright_config(layer: Any) -> tuple[dict[str, Any], int]:
    """The configuration of a one-dimensional convolution in two dimensions, and the zeros that go before its input."""
    config, before = layer.get_config(), 0
    for key in SIZES:
        config[key] = (1, *tuple(config[key]))
    if config.get("output_padding") is not None:
        config["output_padding"] = (0, *config["output_padding"])
    if config["padding"] == "causal":
        before = (config["kernel_size"][1] - 1) * config["dilation_rate"][1]
        config["padding"] = "valid"
    if type(layer).__name__ in {"DepthwiseConv1D", "SeparableConv1D"} and config["strides"][1] > 1:
        # Depthwise convolutions require equal strides. At height 1, the vertical stride has no effect.
        config["strides"] = (config["strides"][1],) * 2
    return config, before


def last_axis(layer: Any, x: Any) -> bool:
    """Whether a normalization layer normalizes only the last axis."""
    axis = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    return [a % x.shape.rank for a in axis] == [x.shape.rank - 1]


def affine(layer: Any) -> tuple[Any, Any]:
    """Factor and shift of a batch normalization outside training, [channels] each."""
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    gamma = layer.gamma.numpy() if layer.scale else np.ones_like(mean)
    beta = layer.beta.numpy() if layer.center else np.zeros_like(mean)
    factor = gamma / np.sqrt(variance + layer.epsilon)
    return factor, beta - mean * factor


def folded_weights(weighted: Any, factor: Any, shift: Any) -> list[Any]:
    """Kernel and bias of a weighted layer with the following normalization `y * factor + shift` folded in.

    Args:
        weighted: A dense layer or a convolution.
        factor, shift: One value per output channel.
    """
    weights = weighted.get_weights()
    kernel, bias = weights[0], weights[1] if weighted.use_bias else np.zeros_like(shift)
    kind = type(weighted).__name__
    if kind == "DepthwiseConv2D":
        scaled = kernel * factor.reshape(kernel.shape[2:])
    else:
        # The output channels of a transposed convolution are on the second-to-last axis.
        scaled = kernel * (factor[:, None] if kind == "Conv2DTranspose" else factor)
    return [scaled, bias * factor + shift]


@dataclass
class Rewritten:
    """A rewritten model.

    Attributes:
        model: A functional, uncompiled model with the weights of the original.
        origins: Name of each rewritten layer -> name of the original layer that it comes from.
        notes: Name of an original layer -> how it was rewritten. Unchanged layers have no note.
        refusals: Name of an original layer that cannot be quantized because of its inputs -> the reason and how to fix
            it.
    """

    model: Any
    origins: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, tuple[str, str]] = field(default_factory=dict)
