"""Keras layers without an integer kernel, written out as layers and functions that have one. Imports TensorFlow.

Outside training, each rewriting computes the same as the layer. A row that returns None leaves the layer unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from components.cells.plan import WRITTEN_OUT_IN_TRAINING
from components.fake_quantize.operators.attention import multi_head, single_head
from components.fake_quantize.operators.normalization import (
    group_normalization,
    layer_normalization,
    normalization,
    rescaling,
)
from components.fake_quantize.operators.parts import Parts
from components.fake_quantize.operators.time_steps import time_steps
from components.fake_quantize.operators.unfold import clipped_relu

_layers = tf.keras.layers
Row = Callable[[Parts, Any, Any, Any], Any]
_WRITTEN_OUT = "written out as layers with integer kernels"


def _one(made: Callable[[Parts, Any, Any], Any]) -> Row:
    """A table row for layers that take only one argument."""
    return lambda parts, layer, args, kwargs: made(parts, layer, args[0]) if _plain(args, kwargs) else None


def _plain(args: Any, kwargs: Any) -> bool:
    return len(args) == 1 and all(value is None for key, value in kwargs.items() if key != "training")


def _layer_scale(parts: Parts, layer: Any, x: Any) -> Any:
    return parts.scaled("", x, layer.gamma.numpy(), trainable=layer.trainable)


def _scaled_sum(parts: Parts, layer: Any, inputs: Any) -> Any:
    return parts.layer(_layers.Add, "", {}, [inputs[0], parts.product("scaled", inputs[1], float(layer.scale))])


def _average(parts: Parts, layer: Any, inputs: Any) -> Any:  # noqa: ARG001
    return parts.average("", inputs)


def _pairwise(parts: Parts, layer: Any, inputs: Any) -> Any:
    """Apply the layer to two inputs at a time, like the kernels, so that each partial result gets a range."""
    y, last = inputs[0], len(inputs) - 1
    for index, x in enumerate(inputs[1:], start=1):
        y = parts.layer(type(layer), "" if index == last else str(index), {}, [y, x])
    return y


def _relu(parts: Parts, layer: Any, x: Any) -> Any:
    slope, high = float(layer.negative_slope or 0), layer.max_value
    if float(layer.threshold or 0) or (high is None and not slope):
        return None
    if slope and high is not None:
        leaky = parts.layer(_layers.LeakyReLU, "leaky", {"alpha": slope}, x)
        return parts.function("math.minimum", "", leaky, float(high))
    if slope:
        return parts.layer(_layers.LeakyReLU, "", {"alpha": slope}, x)
    return None if float(high) == 6.0 else clipped_relu(parts, x, float(high))


def _prelu(parts: Parts, layer: Any, x: Any) -> Any:
    """`relu(x) - alpha * relu(-x)`, with a depthwise convolution for the factors."""
    alpha, sizes = layer.alpha.numpy(), tuple(x.shape[1:])
    below = parts.layer(_layers.ReLU, "below", {}, parts.product("negative", x, -1.0))
    if alpha.size == sizes[-1]:
        scaled = parts.scaled("scaled", below, -alpha.reshape(-1), trainable=layer.trainable)
    elif alpha.shape == sizes:
        flat = parts.reshape("row", (1, 1, alpha.size), below)
        scaled = parts.scaled("scaled", flat, -alpha.reshape(-1), trainable=layer.trainable)
        scaled = parts.reshape("unrolled", sizes, scaled)
    else:
        return None
    return parts.layer(_layers.Add, "", {}, [parts.layer(_layers.ReLU, "above", {}, x), scaled])


def _unit_normalization(parts: Parts, layer: Any, x: Any) -> Any:
    axis = list(layer.axis) if isinstance(layer.axis, list | tuple) else [layer.axis]
    if [a % x.shape.rank for a in axis] != [x.shape.rank - 1]:
        return None
    return parts.function("math.l2_normalize", "", x, axis=-1, epsilon=1e-12)


def _dot(parts: Parts, layer: Any, inputs: Any) -> Any:
    left, right = inputs
    axes = [layer.axes] * 2 if isinstance(layer.axes, int) else list(layer.axes)
    ranks = left.shape.rank, right.shape.rank
    if not {*ranks} <= {2, 3}:
        return None
    first, second = (axis % rank for axis, rank in zip(axes, ranks, strict=True))
    if layer.normalize:
        left, first = _to_length_one(parts, "left", left, first)
        right, second = _to_length_one(parts, "right", right, second)
    if ranks == (2, 2):
        products = parts.product("products", left, right)
        return parts.function("math.reduce_sum", "", products, axis=1, keepdims=True)
    if ranks == (3, 3):
        return parts.function("linalg.matmul", "", left, right, transpose_a=first == 1, transpose_b=second == 2)
    if ranks == (3, 2):
        column = parts.reshape("column", (right.shape[1], 1), right)
        product, kept = parts.function("linalg.matmul", "product", left, column, transpose_a=first == 1), 3 - first
        return parts.reshape("", (-1 if left.shape[kept] is None else left.shape[kept],), product)
    row = parts.reshape("row", (1, left.shape[1]), left)
    product, kept = parts.function("linalg.matmul", "product", row, right, transpose_b=second == 2), 3 - second
    return parts.reshape("", (-1 if right.shape[kept] is None else right.shape[kept],), product)


def _to_length_one(parts: Parts, name: str, x: Any, axis: int) -> tuple[Any, int]:
    """The tensor with vectors of length 1 along an axis, which is moved to the end, and that axis."""
    if axis != x.shape.rank - 1:
        x = parts.layer(_layers.Permute, f"{name}/last", {"dims": (2, 1)}, x)
    return parts.function("math.l2_normalize", name, x, axis=-1, epsilon=1e-12), x.shape.rank - 1


def _dense(parts: Parts, layer: Any, x: Any) -> Any:
    """A dense layer on vectors in one row, because the converter leaves a dense layer on five axes in float."""
    if x.shape.rank < 5 or None in x.shape[1:]:
        return None
    rows = parts.reshape("row", (-1, x.shape[-1]), x)
    config = {"units": layer.units, "use_bias": layer.use_bias}
    y = parts.layer(_layers.Dense, "dense", config, rows, layer.get_weights(), layer.trainable)
    return parts.reshape("", (*x.shape[1:-1], layer.units), parts.activation(layer.activation, "activation", y))


def _einsum_dense(parts: Parts, layer: Any, x: Any) -> Any:
    """A dense layer on the last axes, if the equation contracts these axes."""
    read, _, rest = layer.equation.replace(" ", "").replace("...", "").partition(",")
    weights, _, written = rest.partition("->")
    batch = [axis for axis in read if axis in written]
    inner = [axis for axis in read if axis not in written]
    outer = [axis for axis in written if axis not in read]
    kernel, *biases = layer.get_weights()
    if [*batch, *inner] != list(read) or [*inner, *outer] != list(weights) or [*batch, *outer] != list(written):
        return None
    sizes = kernel.shape[len(inner) :]
    kept = tuple(-1 if size is None else size for size in x.shape[1 : x.shape.rank - len(inner)])
    if not outer or kept.count(-1) > 1 or any(bias.ndim > len(outer) for bias in biases):
        return None
    kernel = kernel.reshape(-1, int(np.prod(sizes)))
    y = x if len(inner) == 1 else parts.reshape("row", (*kept, kernel.shape[0]), x)
    settings = {"units": kernel.shape[1], "use_bias": bool(biases)}
    values = [kernel, *(np.array(np.broadcast_to(bias, sizes)).reshape(-1) for bias in biases)]
    y = parts.layer(_layers.Dense, "dense", settings, y, values, layer.trainable)
    if len(outer) == 1 or layer.activation is tf.keras.activations.softmax:
        y = y if len(outer) == 1 else parts.reshape("units", (*kept, *sizes), y)
        return parts.activation(layer.activation, "activation", y)
    # The kernel of the dense layer also computes the activation, unless there is a reshape between them.
    return parts.reshape("", (*kept, *sizes), parts.activation(layer.activation, "activation", y))


def _thresholded(parts: Parts, layer: Any, x: Any) -> Any:
    above = parts.function("math.greater", "above", x, float(layer.theta))
    return parts.function("where", "", above, x, 0.0)


def _masking(parts: Parts, layer: Any, x: Any) -> Any:
    """Masked time steps that are zeros stay zeros. Layers that use the mask are refused separately."""
    return parts.layer(_layers.Activation, "", {"activation": "linear"}, x) if layer.mask_value == 0.0 else None


def _upsampled(parts: Parts, layer: Any, x: Any) -> Any:
    upright = parts.reshape("upright", (1, *tuple(x.shape[1:])), x)
    repeated = parts.layer(_layers.UpSampling2D, "repeated", {"size": (1, layer.size)}, upright)
    return parts.reshape("", tuple(repeated.shape[2:]), repeated)


def _elu(parts: Parts, layer: Any, x: Any) -> Any:
    return exponential_linear(parts, x, float(layer.alpha), 1.0)


def exponential_linear(parts: Parts, x: Any, alpha: float, scale: float) -> Any:
    """`scale * (x if x > 0 else alpha * (exp(x) - 1))`."""
    below = parts.function("math.minimum", "below", x, 0.0)
    power = parts.activation("exponential", "power", below)
    negative = parts.function("math.subtract", "negative", power, 1.0)
    if alpha * scale != 1.0:
        negative = parts.product("scaled", negative, alpha * scale)
    positive = parts.layer(_layers.ReLU, "positive", {}, x)
    if scale != 1.0:
        positive = parts.product("grown", positive, scale)
    return parts.layer(_layers.Add, "", {}, [positive, negative])


def _softplus(parts: Parts, x: Any, suffix: str = "") -> Any:
    inside = parts.named(suffix).removeprefix(parts.name).lstrip("/")
    before = f"{inside}/" if inside else ""
    size = parts.function("math.abs", f"{before}size", x)
    power = parts.activation("exponential", f"{before}power", parts.product(f"{before}negative", size, -1.0))
    log = parts.function("math.log", f"{before}log", parts.function("math.add", f"{before}sum", power, 1.0))
    return parts.layer(_layers.Add, suffix, {}, [parts.layer(_layers.ReLU, f"{before}positive", {}, x), log])


def _mish(parts: Parts, x: Any) -> Any:
    return parts.product("", x, parts.activation("tanh", "gate", _softplus(parts, x, "softplus")))


def _hard_sigmoid(parts: Parts, x: Any) -> Any:
    shifted = parts.function("math.add", "shifted", parts.product("scaled", x, 1.2), 3.0)
    return parts.product("", parts.layer(_layers.ReLU, "relu6", {"max_value": 6.0}, shifted), 1.0 / 6.0)


def _swish(parts: Parts, x: Any) -> Any:
    return parts.layer(_layers.Multiply, "", {}, [x, parts.activation("sigmoid", "sigmoid", x)])


def _embedding(parts: Parts, layer: Any, ids: Any) -> Any:
    # Wrappers of quantizers take no masks. Layers that use one are refused.
    config = {**layer.get_config(), "mask_zero": False}
    return parts.layer(_layers.Embedding, "", config, ids, layer.get_weights(), layer.trainable)


# Class name -> its rewriting, and its name in reports.
LAYERS: dict[str, tuple[Row, str]] = {
    "Embedding": (_one(_embedding), ""),
    "LayerNormalization": (_one(layer_normalization), _WRITTEN_OUT),
    "GroupNormalization": (_one(group_normalization), _WRITTEN_OUT),
    "MultiHeadAttention": (multi_head, _WRITTEN_OUT),
    "Attention": (single_head, _WRITTEN_OUT),
    "AdditiveAttention": (single_head, _WRITTEN_OUT),
    "Rescaling": (_one(rescaling), "rewritten as a depthwise 1x1 convolution"),
    "Normalization": (_one(normalization), "rewritten as a depthwise 1x1 convolution"),
    "LayerScale": (_one(_layer_scale), "rewritten as a depthwise 1x1 convolution"),
    "CustomScaleLayer": (_one(_scaled_sum), _WRITTEN_OUT),
    "Average": (_one(_average), _WRITTEN_OUT),
    **dict.fromkeys(("Add", "Multiply", "Maximum", "Minimum"), (_one(_pairwise), "")),
    "PReLU": (_one(_prelu), "written out as relu(x) - alpha * relu(-x)"),
    "ReLU": (_one(_relu), _WRITTEN_OUT),
    "ELU": (_one(_elu), _WRITTEN_OUT),
    "ThresholdedReLU": (_one(_thresholded), _WRITTEN_OUT),
    "Masking": (_one(_masking), "keeps zeros"),
    "UnitNormalization": (_one(_unit_normalization), _WRITTEN_OUT),
    "Dot": (_one(_dot), _WRITTEN_OUT),
    **dict.fromkeys(WRITTEN_OUT_IN_TRAINING, (time_steps, "written out as layers for each time step")),
    "Dense": (_one(_dense), ""),
    "EinsumDense": (_one(_einsum_dense), "rewritten as a dense layer"),
    "UpSampling1D": (_one(_upsampled), "rewritten as an upsampling of an image of height 1"),
}

# Name of an activation function -> its rewriting, with the formula for the report.
ACTIVATIONS: dict[str, tuple[Callable[[Parts, Any], Any], str]] = {
    "swish": (_swish, "x * sigmoid(x)"),
    "silu": (_swish, "x * sigmoid(x)"),
    "hard_sigmoid": (_hard_sigmoid, "relu6(1.2 * x + 3) / 6"),
    "elu": (lambda parts, x: exponential_linear(parts, x, 1.0, 1.0), "relu(x) + exp(min(x, 0)) - 1"),
    "selu": (
        lambda parts, x: exponential_linear(parts, x, 1.67326324, 1.05070098),
        "a multiple of relu(x) and of exp(min(x, 0)) - 1",
    ),
    "softplus": (_softplus, "relu(x) + log(1 + exp(-|x|))"),
    "mish": (_mish, "x * tanh(softplus(x))"),
    "leaky_relu": (lambda parts, x: parts.layer(_layers.LeakyReLU, "", {"alpha": 0.2}, x), "LeakyReLU"),
}
