"""The operations of `keras.ops` that move, split, and join tensors, in TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from components.model.keras3.configs import Config
from components.upstream.keras import is_symbolic

layers = tf.keras.layers


def reshape(config: Config, x: Any) -> Any:
    """Change the shape. The batch stays a separate dimension if nothing moves in or out of it."""
    shape = config["newshape"] if isinstance(config["newshape"], list | tuple) else [config["newshape"]]
    rest, given = list(shape[1:]), x.shape[1:]
    # Only in this case, the first dimension stays the batch.
    if given.is_fully_defined() and shape[0] in (-1, None) and -1 not in rest and math.prod(rest) == math.prod(given):
        return layers.Reshape(rest, name=config["name"])(x)
    return tf.reshape(x, [-1 if size is None else size for size in shape])


def transpose(config: Config, x: Any) -> Any:
    """Change the order of dimensions."""
    axes = config.get("axes")
    if axes and axes[0] == 0 and len(axes) > 1:
        return layers.Permute(tuple(axis % len(axes) for axis in axes[1:]), name=config["name"])(x)
    return tf.transpose(x, axes)


def moveaxis(config: Config, x: Any) -> Any:
    """Move dimensions to other positions."""
    source, destination = (
        [axis % x.shape.rank for axis in (value if isinstance(value, list | tuple) else [value])]
        for value in (config["source"], config["destination"])
    )
    order = [axis for axis in range(x.shape.rank) if axis not in source]
    for to, axis in sorted(zip(destination, source, strict=True)):
        order.insert(to, axis)
    return transpose({**config, "axes": order}, x)


def swapaxes(config: Config, x: Any) -> Any:
    """Exchange two dimensions."""
    order = list(range(x.shape.rank))
    one, other = config["axis1"], config["axis2"]
    order[one], order[other] = order[other], order[one]
    return transpose({**config, "axes": order}, x)


def concatenate(config: Config, xs: Any) -> Any:
    """Join tensors along a dimension."""
    axis = config.get("axis", 0)
    if axis != 0 and all(map(is_symbolic, xs)):
        return layers.Concatenate(axis=axis, name=config["name"])(list(xs))
    return tf.concat(list(xs), axis)


def split(config: Config, x: Any) -> Any:
    """Split a tensor into equal parts, or at indices."""
    axis, parts = config.get("axis", 0), config["indices_or_sections"]
    if isinstance(parts, list | tuple):
        ends = [*parts, x.shape[axis]]
        parts = [end - start for start, end in zip([0, *parts], ends, strict=True)]
    return tf.split(x, parts, axis)


def get_item(_config: Config, x: Any, key: Any) -> Any:
    """Index a tensor as NumPy does."""
    keys = list(key) if isinstance(key, list | tuple) else [key]
    # tf-keras can't save `...`.
    places = [index for index, one in enumerate(keys) if one is Ellipsis]
    for place in places:
        named = sum(one is not None for one in keys) - 1
        keys[place : place + 1] = [slice(None)] * (x.shape.rank - named)
    return x[tuple(keys)]


def pad(config: Config, x: Any, constant_values: Any = None) -> Any:
    """Pad each dimension."""
    width = config["pad_width"]
    pairs = np.broadcast_to(np.asarray(width), [x.shape.rank, 2]).tolist()
    mode = config.get("mode", "constant")
    outer_only = x.shape.rank == 4 and pairs[0] == pairs[3] == [0, 0]
    if mode == "constant" and not constant_values and outer_only:
        return layers.ZeroPadding2D((tuple(pairs[1]), tuple(pairs[2])), name=config["name"])(x)
    return tf.pad(x, pairs, mode.upper(), **({"constant_values": constant_values} if constant_values else {}))
