"""Functions of TensorFlow that several integer kernels compute together, as layers. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.fake_quantize.operators.layer import Operator, described
from components.fake_quantize.operators.parts import Parts
from components.upstream.keras import argument_behind, is_symbolic, layer_behind

_layers = tf.keras.layers
_Given = Mapping[str, Any]
_Row = Callable[[Parts, _Given], Any]
# Far below a step of any range, and large enough for a reciprocal root.
_LEAST = 1e-12
# Arguments that transpose a matrix.
_TURNED = ("transpose_a", "transpose_b", "adjoint_a", "adjoint_b")
# Exponent -> the number of times that a value is multiplied by itself.
_PRODUCTS = {1.0: 0, 2.0: 1, 3.0: 2, 4.0: 3}


def _constant(value: Any) -> npt.NDArray[np.float64] | None:
    return None if value is None or is_symbolic(value) else np.asarray(value, np.float64)


def _is_float(value: Any) -> bool:
    return is_symbolic(value) and value.dtype.is_floating


def root(parts: Parts, x: Any, suffix: str = "") -> Any:
    """The square root of non-negative values: `x / sqrt(x)`, with a smallest value in place of zero."""
    return parts.product(suffix, x, reciprocal_root(parts, x, suffix))


def reciprocal_root(parts: Parts, x: Any, suffix: str = "", last: str = "reciprocal") -> Any:
    """`1 / sqrt(x)`, with a smallest value in place of zero."""
    before = f"{suffix}/" if suffix else ""
    above = parts.function("math.maximum", f"{before}above", x, _LEAST)
    return parts.function("math.rsqrt", f"{before}{last}" if last else suffix, above)


def _divide(parts: Parts, given: _Given) -> Any:
    """A product with the reciprocal, if the divisor is constant or a root."""
    x, y = given["x"], given["y"]
    constant = _constant(y)
    if constant is not None and _is_float(x) and np.all(constant):
        return parts.product("", x, (1.0 / constant).astype(np.float32))
    reciprocal = None if constant is not None else _reciprocal_of_root(y)
    if reciprocal is None or not (_is_float(x) or _constant(x) is not None):
        return None
    return parts.product("", x if is_symbolic(x) else np.asarray(x, np.float32), reciprocal)


def _reciprocal_of_root(y: Any) -> Any:
    """The reciprocal of a root that `root` expanded; None for other tensors."""
    x, reciprocal = _read(y, "math.multiply") or (None, None)
    (above,) = _read(reciprocal, "math.rsqrt") or (None,)
    read = _read(above, "math.maximum")
    if not read or read[0] is not x or layer_behind(above).arguments != described([x, _LEAST], {})[0]:
        return None
    return reciprocal


def _read(tensor: Any, function: str) -> list[Any]:
    """The tensors that a function read to compute a tensor; none for the output of anything else."""
    layer = layer_behind(tensor) if is_symbolic(tensor) else None
    if not isinstance(layer, Operator) or layer.function != function:
        return []
    read = argument_behind(tensor)
    return list(read) if isinstance(read, list | tuple) else [read]


def _square(parts: Parts, given: _Given) -> Any:
    return parts.product("", given["x"], given["x"])


def _power(parts: Parts, given: _Given) -> Any:
    exponent, x = _constant(given["y"]), given["x"]
    if exponent is None or exponent.size != 1 or not _is_float(x):
        return None
    if float(exponent) == 0.5:
        return root(parts, x)
    if float(exponent) == -0.5:
        return reciprocal_root(parts, x, last="")
    times = _PRODUCTS.get(float(exponent))
    if times is None:
        return None
    if times == 0:
        return parts.layer(_layers.Activation, "", {"activation": "linear"}, x)
    square = parts.product("" if times == 1 else "square", x, x)
    return square if times == 1 else parts.product("", square, x if times == 2 else square)


def _spread(parts: Parts, x: Any, axis: Any, keep: bool, suffix: str) -> Any:
    mean = parts.function("math.reduce_mean", "mean", x, axis, keepdims=True)
    centered = parts.function("math.subtract", "centered", x, mean)
    squares = parts.product("squares", centered, centered)
    return parts.function("math.reduce_mean", suffix, squares, axis, keepdims=keep)


def _variance(parts: Parts, given: _Given) -> Any:
    return _spread(parts, given["input_tensor"], given["axis"], bool(given["keepdims"]), "")


def _deviation(parts: Parts, given: _Given) -> Any:
    return root(parts, _spread(parts, given["input_tensor"], given["axis"], bool(given["keepdims"]), "variance"))


def _moments(parts: Parts, given: _Given) -> Any:
    x, axes, keep = given["x"], given["axes"], bool(given["keepdims"])
    mean = parts.function("math.reduce_mean", "0", x, axes, keepdims=keep)
    return [mean, _spread(parts, x, axes, keep, "1")]


def _normalized(parts: Parts, given: _Given) -> Any:
    """`(x - mean) / sqrt(variance + epsilon) * scale + offset`, each a constant or a tensor."""
    x, epsilon = given["x"], float(given["variance_epsilon"])
    mean, variance, scale, offset = (
        value if value is None or is_symbolic(value) else np.asarray(value, np.float32)
        for value in (given["mean"], given["variance"], given["scale"], given["offset"])
    )
    if not _is_float(x):
        return None
    if not any(map(is_symbolic, (mean, variance, scale, offset))):
        one = np.ones(x.shape[-1], np.float32)
        factor = one / np.sqrt(variance + epsilon) * (one if scale is None else scale)
        shift = (0.0 * one if offset is None else offset) - mean * factor
        return parts.scaled("", x, factor, shift, trainable=False) if factor.shape == shift.shape == one.shape else None
    if is_symbolic(variance):
        factor = reciprocal_root(parts, parts.function("math.add", "variance", variance, epsilon))
    else:
        factor = (1.0 / np.sqrt(variance + epsilon)).astype(np.float32)
    y = parts.product("scaled", parts.function("math.subtract", "centered", x, mean), factor)
    if scale is not None:
        y = parts.product("" if offset is None else "grown", y, scale)
    return y if offset is None else parts.function("math.add", "", y, offset)


def _norm(parts: Parts, given: _Given) -> Any:
    x = given.get("tensor", given.get("input_tensor"))
    if given.get("ord", "euclidean") not in {"euclidean", 2} or not _is_float(x):
        return None
    squares, keep = parts.product("squares", x, x), bool(given["keepdims"])
    axis = given["axis"] if given["axis"] is not None else list(range(x.shape.rank))
    return root(parts, parts.function("math.reduce_sum", "sum", squares, axis, keepdims=keep))


def _log_of_sum(parts: Parts, given: _Given) -> Any:
    """The logarithm of a sum of exponentials, computed after the largest value is subtracted."""
    x, axis, keep = given["input_tensor"], given["axis"], bool(given["keepdims"])
    if axis is None or not _is_float(x):
        return None
    highest = parts.function("math.reduce_max", "highest", x, axis, keepdims=True)
    powers = parts.activation("exponential", "powers", parts.function("math.subtract", "below", x, highest))
    log = parts.function("math.log", "log", parts.function("math.reduce_sum", "sums", powers, axis, keepdims=keep))
    if not keep:
        highest = parts.function(
            "compat.v1.squeeze", "highest/row", highest, axis if isinstance(axis, list) else [axis]
        )
    return parts.function("math.add", "", log, highest)


def _logarithm(parts: Parts, given: _Given) -> Any:
    return parts.function("math.log", "", parts.function("math.add", "more", given["x"], 1.0))


def _power_below(parts: Parts, given: _Given) -> Any:
    return parts.function("math.subtract", "", parts.activation("exponential", "power", given["x"]), 1.0)


def _log_sigmoid(parts: Parts, given: _Given) -> Any:
    negative = parts.product("negative", given["x"], -1.0)
    return parts.product("", parts.activation("softplus", "softplus", negative), -1.0)


def _swish(parts: Parts, given: _Given) -> Any:
    beta, x = _constant(given["beta"]), given["features"]
    if beta is None or beta.size != 1:
        return None
    if float(beta) == 1.0:
        return parts.activation("swish", "", x)
    return parts.product("", x, parts.activation("sigmoid", "gate", parts.product("steeper", x, float(beta))))


def _both_sides(parts: Parts, given: _Given) -> Any:
    x = given["features"]
    above = parts.layer(_layers.ReLU, "above", {}, x)
    below = parts.layer(_layers.ReLU, "below", {}, parts.product("negative", x, -1.0))
    return parts.layer(_layers.Concatenate, "", {"axis": given["axis"]}, [above, below])


def mixed(parts: Parts, suffix: str, x: Any, kernel: npt.NDArray[Any], axis: int = -1) -> Any:
    """The product of a constant matrix [N, M] and a tensor's axis of size N, which then has size M: a dense layer."""
    rank = x.shape.rank
    order = [one for one in range(1, rank) if one != axis % rank] + [axis % rank]
    moved = order != list(range(1, rank))
    before = f"{suffix}/" if suffix else ""
    if moved:
        x = parts.layer(_layers.Permute, f"{before}last", {"dims": order}, x)
    config = {"units": kernel.shape[1], "use_bias": False}
    name = f"{before}product" if moved else suffix
    y = parts.layer(_layers.Dense, name, config, x, [kernel.astype(np.float32)], trainable=False)
    back = [order.index(one) + 1 for one in range(1, rank)]
    return parts.layer(_layers.Permute, suffix, {"dims": back}, y) if moved else y


def times_matrix(parts: Parts, given: _Given) -> Any:
    """The product of a constant matrix and a tensor: a dense layer along the second-to-last axis."""
    matrix, x = _constant(given["a"]), given["b"]
    if matrix is None or not _is_float(x) or x.shape.rank < 3 or set(_turned(given)) - {"transpose_a"}:
        return None
    if matrix.ndim > 2 and matrix.size == matrix.shape[-1] * matrix.shape[-2]:
        matrix = matrix.reshape(matrix.shape[-2:])
    if matrix.ndim != 2 or x.shape[-2] is None:
        return None
    return mixed(parts, "", x, matrix if _turned(given) else matrix.T, -2)


def _turned(given: _Given) -> list[str]:
    return [name for name in _TURNED if given.get(name)]


def _times_vector(parts: Parts, given: _Given) -> Any:
    matrix, x = given["a"], given["b"]
    constant = _constant(matrix)
    if _turned(given) or not _is_float(x):
        return None
    if constant is not None:
        return mixed(parts, "", x, constant.T) if constant.ndim == 2 else None
    if not _is_float(matrix) or matrix.shape.rank != x.shape.rank + 1:
        return None
    product = parts.function("linalg.matmul", "product", matrix, parts.function("expand_dims", "column", x, -1))
    return parts.function("compat.v1.squeeze", "", product, [-1])


def _contracted(parts: Parts, given: _Given) -> Any:
    matrix, x, axes = _constant(given["b"]), given["a"], given["axes"]
    if matrix is None or matrix.ndim != 2 or not _is_float(x):
        return None
    left, right = (-1, 0) if axes == 1 else (int(np.squeeze(one)) for one in axes)
    if left % x.shape.rank != x.shape.rank - 1:
        return None
    return mixed(parts, "", x, matrix.T if right % 2 else matrix)


def _running_sum(parts: Parts, given: _Given) -> Any:
    """A product with a triangular matrix of ones."""
    x, axis = given["x"], int(given["axis"]) % given["x"].shape.rank
    length = x.shape[axis]
    if not _is_float(x) or axis == 0 or length is None:
        return None
    ones = np.triu(np.ones([length, length], np.float32), 1 if given["exclusive"] else 0)
    return mixed(parts, "", x, ones.T if given["reverse"] else ones, axis)


def _mirrored(axis: int) -> _Row:
    def made(parts: Parts, given: _Given) -> Any:
        x = given["image"]
        places = tuple(slice(None, None, -1 if place == x.shape.rank + axis else None) for place in range(x.shape.rank))
        return parts.function("__operators__.getitem", "", x, places)

    return made


def _gray(parts: Parts, given: _Given) -> Any:
    x = given["images"]
    return mixed(parts, "", x, np.array([[0.2989], [0.5870], [0.1140]])) if _is_float(x) else None


# Public name of a function -> the layers that it becomes; a row that returns None leaves it a function.
ROWS: dict[str, _Row] = {
    "math.truediv": _divide,
    "math.divide": _divide,
    "math.square": _square,
    "math.pow": _power,
    "math.sqrt": lambda parts, given: root(parts, given["x"]),
    "math.reduce_variance": _variance,
    "math.reduce_std": _deviation,
    "nn.moments": _moments,
    "nn.batch_normalization": _normalized,
    "compat.v1.norm": _norm,
    "math.reduce_euclidean_norm": _norm,
    "math.reduce_logsumexp": _log_of_sum,
    "math.log1p": _logarithm,
    "math.expm1": _power_below,
    "math.log_sigmoid": _log_sigmoid,
    "nn.silu": _swish,
    "compat.v1.nn.crelu": _both_sides,
    "linalg.matvec": _times_vector,
    "tensordot": _contracted,
    "math.cumsum": _running_sum,
    "image.flip_left_right": _mirrored(-2),
    "image.flip_up_down": _mirrored(-3),
    "image.rgb_to_grayscale": _gray,
}
