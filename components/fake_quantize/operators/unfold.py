"""Rewrite operations on tensors (`TFOpLambda`) as layers. Imports TensorFlow.

A function for which Keras has a layer becomes that layer; others become an `Operator`. Division by constants, powers,
and similar functions without an integer kernel become products.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from components.fake_quantize.operators import composed, convolutions
from components.fake_quantize.operators.parts import Parts
from components.fake_quantize.operators.places import mean_of_places
from components.upstream.keras import function_named, is_symbolic

_layers = tf.keras.layers
# Class names of layers of operations on tensors.
UNFOLDED = frozenset({"TFOpLambda", "SlicingOpLambda"})
# Arguments of matmul that transpose a matrix or say how it is stored.
_TURNED = ("transpose_a", "transpose_b", "adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse", "output_type")


def unfold(parts: Parts, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The outputs of an operation on tensors, from layers.

    Raises:
        NotDescribable: An argument is neither a tensor nor a constant of moderate size.
    """
    row = _ROWS.get(function)
    if row is not None:
        given = inspect.signature(function_named(function)).bind(*args, **kwargs)
        given.apply_defaults()
        made = row(parts, given.arguments)
        if made is not None:
            return made
    return parts.function(function, "", *args, **kwargs)


_Given = Mapping[str, Any]
_Row = Callable[[Parts, _Given], Any]


def _merge(kind: Any) -> _Row:
    """A layer of two tensors. Keras aligns tensors of unequal ranks differently than TensorFlow."""

    def made(parts: Parts, given: _Given) -> Any:
        x, y = given["x"], given["y"]
        if is_symbolic(x) and is_symbolic(y) and x.shape.rank == y.shape.rank and x.dtype.is_floating:
            return parts.layer(kind, "", {}, [x, y])
        return None

    return made


def _concatenate(parts: Parts, given: _Given) -> Any:
    values = given["values"]
    together = isinstance(values, list | tuple) and len(values) > 1 and all(map(is_symbolic, values))
    if together and isinstance(given["axis"], int) and values[0].dtype.is_floating:
        return parts.layer(_layers.Concatenate, "", {"axis": given["axis"]}, list(values))
    return None


def _added(parts: Parts, given: _Given) -> Any:
    values = list(given["inputs"])
    y = values[0]
    for index, x in enumerate(values[1:], start=2):
        y = parts.layer(_layers.Add, "" if index == len(values) else f"{index - 1}", {}, [y, x])
    return y if len(values) > 1 else None


def _activation(name: str) -> _Row:
    def made(parts: Parts, given: _Given) -> Any:
        x = next(iter(given.values()))
        options = [given.get("approximate"), given.get("beta") not in {None, 1.0}]
        return None if any(options) else parts.activation(name, "", x)

    return made


def _softmax(parts: Parts, given: _Given) -> Any:
    return parts.layer(_layers.Softmax, "", {"axis": -1 if given["axis"] is None else given["axis"]}, given["logits"])


def _leaky(parts: Parts, given: _Given) -> Any:
    return parts.layer(_layers.LeakyReLU, "", {"alpha": float(given["alpha"])}, given["features"])


def _cast(parts: Parts, given: _Given) -> Any:
    same = given["x"].dtype == tf.as_dtype(given["dtype"])
    return parts.layer(_layers.Activation, "", {"activation": "linear"}, given["x"]) if same else None


def _negative(parts: Parts, given: _Given) -> Any:
    return parts.product("", given["x"], -1.0) if given["x"].dtype.is_floating else None


def _clip(parts: Parts, given: _Given) -> Any:
    low, high = _constant(given["clip_value_min"]), _constant(given["clip_value_max"])
    if low is None or high is None:
        return None
    if low.size == 1 and float(low) == 0.0 and high.size == 1:
        return clipped_relu(parts, given["t"], float(high))
    below = parts.function("math.minimum", "minimum", given["t"], high.astype(np.float32))
    return parts.function("math.maximum", "", below, low.astype(np.float32))


def clipped_relu(parts: Parts, x: Any, high: float) -> Any:
    """ReLU with an upper bound: a ReLU6 of scaled values, because the kernels have ReLU6."""
    if high == 6.0:
        return parts.layer(_layers.ReLU, "", {"max_value": 6.0}, x)
    wide = parts.product("wide", x, 6.0 / high)
    return parts.product("", parts.layer(_layers.ReLU, "relu6", {"max_value": 6.0}, wide), high / 6.0)


def _reverse(parts: Parts, given: _Given) -> Any:
    """A slice with negative steps, because the converter leaves REVERSE_V2 between trained ranges in float."""
    x, axes = given["tensor"], _constant(given["axis"])
    if axes is None:
        return None
    turned = {int(axis) % x.shape.rank for axis in axes.reshape(-1)}
    places = tuple(slice(None, None, -1 if axis in turned else None) for axis in range(x.shape.rank))
    return parts.function("__operators__.getitem", "", x, places)


def _unstacked(parts: Parts, given: _Given) -> Any:
    """Slices, one for each element."""
    x, axis = given["value"], int(given["axis"]) % given["value"].shape.rank
    if x.shape[axis] is None or axis == 0:
        return None
    before = [slice(None)] * axis
    places = [(*before, index) for index in range(x.shape[axis])]
    return [parts.function("__operators__.getitem", str(index), x, place) for index, place in enumerate(places)]


def _one_hot(parts: Parts, given: _Given) -> Any:
    """Rows of an identity matrix, with a row of zeros before and after it for numbers that aren't classes."""
    ids, depth = given["indices"], _constant(given["depth"])
    off = _constant(0.0 if given["off_value"] is None else given["off_value"])
    on = _constant(1.0 if given["on_value"] is None else given["on_value"])
    at_the_end = given["axis"] in {None, -1} or (is_symbolic(ids) and given["axis"] == ids.shape.rank)
    if None in (depth, off, on) or not is_symbolic(ids) or not at_the_end:
        return None
    classes = int(depth)
    known = parts.function("math.minimum", "known", parts.function("math.maximum", "least", ids, -1), classes)
    rows = parts.function("math.add", "rows", known, 1)
    table = (off + (on - off) * np.eye(classes + 2, classes, -1)).astype(np.float32)
    config = {"input_dim": classes + 2, "output_dim": classes}
    return parts.layer(_layers.Embedding, "", config, rows, [table], trainable=False)


def _looked_up(parts: Parts, given: _Given) -> Any:
    """Rows of a constant matrix: an embedding that does not train, because the converter needs their range."""
    table, ids, axis = _constant(given["params"]), given["indices"], given["axis"]
    if table is None or table.ndim != 2 or not is_symbolic(ids) or axis not in {None, 0} or given["batch_dims"]:
        return None
    config = {"input_dim": len(table), "output_dim": table.shape[1]}
    return parts.layer(_layers.Embedding, "", config, ids, [table.astype(np.float32)], trainable=False)


def _zeros(parts: Parts, given: _Given) -> Any:
    """Zeros of the tensor's shape. The converter can't give those of `zeros_like` the scale of a concatenation."""
    x = given["input"]
    if not is_symbolic(x) or given["dtype"] not in {None, x.dtype}:
        return None
    return parts.function("fill", "", parts.function("compat.v1.shape", "shape", x), 0.0)


def _unchanged(parts: Parts, given: _Given) -> Any:
    return parts.layer(_layers.Activation, "", {"activation": "linear"}, given["x"])


def _divided(parts: Parts, given: _Given) -> Any:
    """A product with the reciprocals of constants, and with zeros where a constant is zero."""
    x, y = given["x"], _constant(given["y"])
    if y is None or not is_symbolic(x):
        return None
    return parts.product("", x, np.divide(1.0, y, out=np.zeros_like(y), where=y != 0).astype(np.float32))


def _frames(parts: Parts, given: _Given) -> Any:
    """Windows along an axis, gathered by their indices."""
    x, size, step = given["signal"], _constant(given["frame_length"]), _constant(given["frame_step"])
    axis = int(given["axis"]) % x.shape.rank
    if size is None or step is None or given["pad_end"] or axis == 0 or x.shape[axis] is None:
        return None
    starts = np.arange(0, x.shape[axis] - int(size) + 1, int(step))
    return parts.function("compat.v1.gather", "", x, starts[:, None] + np.arange(int(size)), axis=axis)


def _placed(parts: Parts, x: Any, before: list[int], sizes: list[int]) -> Any:
    """An image of given sizes whose corner is moved: out of the image if it is negative, where zeros are added."""
    after = [size + start - old for start, size, old in zip(before, sizes, x.shape[1:3], strict=True)]
    added = tuple((max(-start, 0), max(rest, 0)) for start, rest in zip(before, after, strict=True))
    cut = tuple((max(start, 0), max(-rest, 0)) for start, rest in zip(before, after, strict=True))
    if np.any(added):
        x = parts.layer(_layers.ZeroPadding2D, "padded" if np.any(cut) else "", {"padding": added}, x)
    return parts.layer(_layers.Cropping2D, "", {"cropping": cut}, x) if np.any(cut) or not np.any(added) else x


def _box(sign: int) -> _Row:
    """A part of an image (1), or an image in a larger one (-1)."""

    def made(parts: Parts, given: _Given) -> Any:
        keys = ("offset_height", "offset_width", "target_height", "target_width")
        top, left, height, width = (_constant(given[key]) for key in keys)
        if not _is_plane(given["image"]) or any(one is None for one in (top, left, height, width)):
            return None
        return _placed(parts, given["image"], [sign * int(top), sign * int(left)], [int(height), int(width)])

    return made


def _middle(parts: Parts, given: _Given) -> Any:
    x, fraction = given["image"], _constant(given["central_fraction"])
    if fraction is None or not _is_plane(x):
        return None
    before = [int((size - size * float(fraction)) / 2) for size in x.shape[1:3]]
    return _placed(parts, x, before, [size - 2 * start for size, start in zip(x.shape[1:3], before, strict=True)])


def _fitted(parts: Parts, given: _Given) -> Any:
    """An image of given sizes, with its edges cut off, or with zeros around it."""
    x, sizes = given["image"], [_constant(given[key]) for key in ("target_height", "target_width")]
    if not _is_plane(x) or any(size is None for size in sizes):
        return None
    more = [int(size) - old for size, old in zip(sizes, x.shape[1:3], strict=True)]
    before = [-(one // 2) if one > 0 else -one // 2 for one in more]
    return _placed(parts, x, before, [int(size) for size in sizes])


def _is_plane(x: Any) -> bool:
    return is_symbolic(x) and x.dtype.is_floating and x.shape.rank == 4 and None not in tuple(x.shape[1:])


def _dense(parts: Parts, given: _Given) -> Any:
    """A product with a constant matrix: a dense layer."""
    if not is_symbolic(given["a"]):
        return composed.times_matrix(parts, given)
    kernel, turned = _constant(given["b"]), [key for key in _TURNED if given.get(key)]
    if kernel is None or kernel.ndim != 2 or set(turned) - {"transpose_b"}:
        return None
    kernel = (kernel.T if turned else kernel).astype(np.float32)
    if parts.coarse and (mean := mean_of_places(parts, given["a"], kernel)) is not None:
        return mean
    return composed.mixed(parts, "", given["a"], kernel)


def _constant(value: Any) -> Any:
    return None if is_symbolic(value) else np.asarray(value, np.float64)


# Public name of a function -> the layers that it becomes; a row that returns None leaves it a function.
_ROWS: dict[str, _Row] = {
    "__operators__.add": _merge(_layers.Add),
    "math.add": _merge(_layers.Add),
    "math.subtract": _merge(_layers.Subtract),
    "math.multiply": _merge(_layers.Multiply),
    "math.maximum": _merge(_layers.Maximum),
    "math.minimum": _merge(_layers.Minimum),
    "math.add_n": _added,
    "concat": _concatenate,
    "nn.relu": _activation("relu"),
    "nn.relu6": lambda parts, given: parts.layer(_layers.ReLU, "", {"max_value": 6.0}, given["features"]),
    "nn.leaky_relu": _leaky,
    "nn.softmax": _softmax,
    "math.sigmoid": _activation("sigmoid"),
    "math.tanh": _activation("tanh"),
    "nn.gelu": _activation("gelu"),
    "nn.elu": _activation("elu"),
    "nn.selu": _activation("selu"),
    "math.softplus": _activation("softplus"),
    "math.exp": _activation("exponential"),
    "cast": _cast,
    "math.negative": _negative,
    "clip_by_value": _clip,
    "reverse": _reverse,
    "one_hot": _one_hot,
    "compat.v1.gather": _looked_up,
    "unstack": _unstacked,
    "linalg.matmul": _dense,
    "zeros_like": _zeros,
    "ensure_shape": _unchanged,
    "math.divide_no_nan": _divided,
    "signal.frame": _frames,
    "image.crop_to_bounding_box": _box(1),
    "image.pad_to_bounding_box": _box(-1),
    "image.central_crop": _middle,
    "image.resize_with_crop_or_pad": _fitted,
    **convolutions.ROWS,
    **composed.ROWS,
}
