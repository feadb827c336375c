"""Functions of TensorFlow for convolutions with constant kernels, pools, and pads, as layers. Imports TensorFlow.

The kernels don't train, like other constants of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.fake_quantize.operators.parts import Parts
from components.upstream.keras import is_symbolic

_layers = tf.keras.layers
_Given = Mapping[str, Any]
_Kernel = npt.NDArray[np.float32]
_Row = Callable[[Parts, _Given], Any]
_CHANNELS_LAST = frozenset({None, "NHWC", "NWC"})
# New and old names of arguments.
_INPUT, _RATES = "input value", "dilations dilation_rate rate"
# Larger constants stand for infinity.
_LARGEST_CONSTANT = 1000.0


def _convolution(kernel: str, rule: Callable[..., Any], axes: int | None = 2, strides: str = "strides") -> _Row:
    """A table row for one function.

    Args:
        kernel, strides: Names of arguments. An older name follows after a space.
        rule: Adds the layers.
        axes: Number of the axes that the kernel moves along; None for the input's axes.
    """

    def made(parts: Parts, given: _Given) -> Any:
        x, weights = _first(given, _INPUT), _constant(_first(given, kernel))
        along = axes or (x.shape.rank - 2 if is_symbolic(x) else 0)
        steps, rates = _sizes(given[strides], along), _sizes(_first(given, _RATES), along)
        if not _is_map(x, along, given) or weights is None or steps is None or rates is None:
            return None
        if max(steps) > 1 and max(rates) > 1:
            return None
        return rule(parts, given, x, weights, {"strides": steps, "dilation_rate": rates, "use_bias": False})

    return made


def _either(parts: Parts, given: _Given, x: Any, kernel: _Kernel, config: Mapping[str, Any]) -> Any:
    rule = {3: _line, 4: _plane}.get(x.shape.rank)
    return None if rule is None else rule(parts, given, x, kernel, config)


def _plane(parts: Parts, given: _Given, x: Any, kernel: _Kernel, config: Mapping[str, Any]) -> Any:
    padded, padding = _padded(parts, given["padding"], x)
    if padded is None or kernel.ndim != 4 or x.shape[-1] % kernel.shape[2]:
        return None
    return _convolved(parts, "", padded, kernel, {**config, "padding": padding})


def _convolved(parts: Parts, suffix: str, x: Any, kernel: _Kernel, config: Mapping[str, Any]) -> Any:
    groups = x.shape[-1] // kernel.shape[2]
    options = {**config, "filters": kernel.shape[3], "kernel_size": kernel.shape[:2], "groups": groups}
    return parts.layer(_layers.Conv2D, suffix, options, x, [kernel], trainable=False)


def _line(parts: Parts, given: _Given, x: Any, kernel: _Kernel, config: Mapping[str, Any]) -> Any:
    """A convolution along one axis, as one of height 1 along two axes."""
    if not isinstance(given["padding"], str) or kernel.ndim != 3 or x.shape[-1] % kernel.shape[1]:
        return None
    options = {**config, **{key: (1, *config[key]) for key in ("strides", "dilation_rate")}}
    options["padding"] = given["padding"].lower()
    upright = parts.reshape("upright", (1, *x.shape[1:]), x)
    y = _convolved(parts, "plane", upright, kernel[None], options)
    return parts.reshape("", tuple(y.shape[2:]), y)


def _each_channel(parts: Parts, given: _Given, x: Any, kernel: _Kernel, config: Mapping[str, Any]) -> Any:
    return _depthwise(parts, "", given, x, kernel, config)


def _depthwise(parts: Parts, suffix: str, given: _Given, x: Any, kernel: _Kernel, config: Mapping[str, Any]) -> Any:
    padded, padding = _padded(parts, given["padding"], x)
    if padded is None or kernel.ndim != 4 or kernel.shape[2] != x.shape[-1] or len(set(config["strides"])) > 1:
        return None
    options = {**config, "padding": padding, "kernel_size": kernel.shape[:2], "depth_multiplier": kernel.shape[3]}
    return parts.layer(_layers.DepthwiseConv2D, suffix, options, padded, [kernel], trainable=False)


def _separable(parts: Parts, given: _Given, x: Any, kernel: _Kernel, config: Mapping[str, Any]) -> Any:
    pointwise = _constant(given["pointwise_filter"])
    if pointwise is None or pointwise.shape[:3] != (1, 1, kernel.shape[2] * kernel.shape[3]):
        return None
    y = _depthwise(parts, "depthwise", given, x, kernel, config)
    return None if y is None else _convolved(parts, "", y, pointwise, {"use_bias": False})


def _plane_transposed(parts: Parts, given: _Given, x: Any, kernel: _Kernel, config: Mapping[str, Any]) -> Any:
    if kernel.ndim != 4 or not _is_usual(given, x, kernel, config["strides"]):
        return None
    return _transposed(parts, "", x, kernel, {**config, "padding": given["padding"].lower()})


def _line_transposed(parts: Parts, given: _Given, x: Any, kernel: _Kernel, config: Mapping[str, Any]) -> Any:
    if kernel.ndim != 3 or not _is_usual(given, x, kernel, config["strides"]):
        return None
    options = {**config, "strides": (1, *config["strides"]), "padding": given["padding"].lower()}
    upright = parts.reshape("upright", (1, *x.shape[1:]), x)
    y = _transposed(parts, "plane", upright, kernel[None], {**options, "dilation_rate": (1, 1)})
    return parts.reshape("", tuple(y.shape[2:]), y)


def _transposed(parts: Parts, suffix: str, x: Any, kernel: _Kernel, config: Mapping[str, Any]) -> Any:
    options = {**config, "filters": kernel.shape[2], "kernel_size": kernel.shape[:2]}
    return parts.layer(_layers.Conv2DTranspose, suffix, options, x, [kernel], trainable=False)


def _is_usual(given: _Given, x: Any, kernel: _Kernel, strides: tuple[int, ...]) -> bool:
    """Whether the given output shape of a transposed convolution is the one that Keras computes."""
    shape, padding = given["output_shape"], given["padding"]
    if not isinstance(shape, list | tuple) or not isinstance(padding, str) or kernel.shape[-1] != x.shape[-1]:
        return False
    more = [max(size - step, 0) if padding.upper() == "VALID" else 0
            for size, step in zip(kernel.shape, strides, strict=False)]  # fmt: skip
    usual = [size * step + rest for size, step, rest in zip(x.shape[1:-1], strides, more, strict=True)]
    return not any(map(is_symbolic, shape[1:])) and [int(size) for size in shape[1:]] == [*usual, kernel.shape[-2]]


def _pool(kind: str | None = None) -> _Row:
    """A pooling of the given kind, `MAX` or `AVG`; None takes the kind from the arguments."""

    def made(parts: Parts, given: _Given) -> Any:
        x, pooling = _first(given, _INPUT), kind or given["pooling_type"]
        along = x.shape.rank - 2
        sizes, steps = _sizes(_first(given, "ksize window_shape"), along), _sizes(given["strides"], along)
        rates = _sizes(_first(given, _RATES), along)
        known = along in {1, 2} and pooling in {"MAX", "AVG"} and isinstance(given["padding"], str)
        if not known or not _is_map(x, along, given) or sizes is None or steps is None or rates != (1,) * along:
            return None
        name = f"{'Max' if pooling == 'MAX' else 'Average'}Pooling{along}D"
        config = {"pool_size": sizes, "strides": steps, "padding": given["padding"].lower()}
        return parts.layer(getattr(_layers, name), "", config, x)

    return made


def _first(given: _Given, names: str) -> Any:
    return next((given[name] for name in names.split() if given.get(name) is not None), None)


def _constant(value: Any) -> _Kernel | None:
    return None if value is None or is_symbolic(value) else np.asarray(value, np.float32)


def _is_map(x: Any, axes: int, given: _Given) -> bool:
    """Whether an argument is a float tensor [batch, sizes of the axes, channels] of known sizes."""
    return (
        is_symbolic(x)
        and x.dtype.is_floating
        and x.shape.rank == axes + 2
        and None not in tuple(x.shape[1:])
        and given.get("data_format") in _CHANNELS_LAST
    )


def _sizes(value: Any, axes: int) -> tuple[int, ...] | None:
    """An argument as one size for each axis. It may be one number, and may have entries for the batch and channels."""
    if is_symbolic(value):
        return None
    given = [int(size) for size in np.asarray(1 if value is None else value).reshape(-1)]
    if len(given) == axes + 2 and given[0] == given[-1] == 1:
        given = given[1:-1]
    if len(given) == 1:
        given *= axes
    return tuple(given) if len(given) == axes else None


def _padded(parts: Parts, padding: Any, x: Any) -> tuple[Any, str]:
    """The tensor after its explicit padding, if there is one, and the padding of the layer; None for other forms."""
    if isinstance(padding, str):
        return (x, padding.lower()) if padding.upper() in {"SAME", "VALID"} else (None, "")
    pairs = [tuple(map(int, pair)) for pair in padding]
    if len(pairs) != 4 or any(pairs[0]) or any(pairs[3]):
        return None, ""
    return parts.layer(_layers.ZeroPadding2D, "padded", {"padding": tuple(pairs[1:3])}, x), "valid"


def _around(parts: Parts, given: _Given) -> Any:
    """Zeros around `x - constant`, and the constant added again, because the kernel's constant has its input's range.

    A constant that is larger than all values, such as -1e9 before a maximum, stays: the end of the range is the same.
    In 16 bits, the converter leaves sums with constants in float.
    """
    x, value = given["tensor"], _constant(given["constant_values"])
    if not parts.coarse or not is_symbolic(x) or not x.dtype.is_floating or given["mode"].upper() != "CONSTANT":
        return None
    if value is None or value.ndim or not 0 < abs(value) <= _LARGEST_CONSTANT:
        return None
    moved = parts.function("math.subtract", "moved", x, float(value))
    padded = parts.function("compat.v1.pad", "padded", moved, given["paddings"])
    return parts.function("math.add", "", padded, float(value))


# Public name of a function -> the layers that it becomes; a row that returns None leaves it a function.
ROWS: dict[str, _Row] = {
    "compat.v1.nn.conv1d": _convolution("filters", _line, 1, "stride"),
    "compat.v1.nn.conv2d": _convolution("filters filter", _plane),
    "nn.convolution": _convolution("filters", _either, None),
    "compat.v1.nn.convolution": _convolution("filters filter", _either, None),
    "compat.v1.nn.depthwise_conv2d": _convolution("filter", _each_channel),
    "compat.v1.nn.separable_conv2d": _convolution("depthwise_filter", _separable),
    "nn.conv1d_transpose": _convolution("filters", _line_transposed, 1),
    "nn.conv2d_transpose": _convolution("filters", _plane_transposed),
    **dict.fromkeys(("nn.max_pool1d", "nn.max_pool", "compat.v1.nn.max_pool"), _pool("MAX")),
    **dict.fromkeys(("nn.avg_pool1d", "nn.avg_pool", "compat.v1.nn.avg_pool"), _pool("AVG")),
    "compat.v1.nn.pool": _pool(),
    "compat.v1.pad": _around,
}
