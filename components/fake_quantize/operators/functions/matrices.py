"""Products with constant matrices and vectors, as dense layers. Imports TensorFlow."""

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
_Row = Callable[[Parts, _Given], Any]
# Arguments that turn a matrix.
_TURNED = ("transpose_a", "transpose_b", "adjoint_a", "adjoint_b")


def _constant(value: Any) -> npt.NDArray[np.float64] | None:
    return None if is_symbolic(value) else np.asarray(value, np.float64)


def _is_float(value: Any) -> bool:
    return is_symbolic(value) and value.dtype.is_floating


def mixed(parts: Parts, suffix: str, x: Any, kernel: npt.NDArray[Any], axis: int = -1) -> Any:
    """The product of a constant matrix [N, M] with an axis of N of a tensor, which then has M: a dense layer."""
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
    """A constant matrix before a tensor: a dense layer along the axis before the last."""
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
    """A product with a triangle of ones."""
    x, axis = given["x"], int(given["axis"]) % given["x"].shape.rank
    length = x.shape[axis]
    if not _is_float(x) or axis == 0 or length is None:
        return None
    ones = np.triu(np.ones([length, length], np.float32), 1 if given["exclusive"] else 0)
    return mixed(parts, "", x, ones.T if given["reverse"] else ones, axis)


def _gray(parts: Parts, given: _Given) -> Any:
    x = given["images"]
    return mixed(parts, "", x, np.array([[0.2989], [0.5870], [0.1140]])) if _is_float(x) else None


# Public name of a function -> the layers that it becomes; a row that returns None leaves it a function.
ROWS: dict[str, _Row] = {
    "linalg.matvec": _times_vector,
    "tensordot": _contracted,
    "math.cumsum": _running_sum,
    "image.rgb_to_grayscale": _gray,
}
