"""Normalization layers, written out as layers and functions that have an integer kernel. Imports TensorFlow.

A function returns None for a layer that it can't write out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from components.fake_quantize.operators.parts import Parts

_layers = tf.keras.layers


def layer_normalization(parts: Parts, layer: Any, x: Any) -> Any:
    """Normalize along the last axis, to which other axes are moved and joined."""
    axes = sorted(a % x.shape.rank for a in ([layer.axis] if isinstance(layer.axis, int) else layer.axis))
    others = [axis for axis in range(1, x.shape.rank) if axis not in axes]
    sizes = [x.shape[axis] for axis in axes]
    if None in sizes or 0 in axes:
        return None
    joined = int(np.prod(sizes))
    ones = np.ones(joined, np.float32)
    factor = layer.gamma.numpy().reshape(-1) if layer.scale else ones
    shift = layer.beta.numpy().reshape(-1) if layer.center else 0 * ones
    if axes == [x.shape.rank - 1]:
        y = standardized(parts, x, -1, layer.epsilon)
        return parts.scaled("", y, factor, shift, trainable=layer.trainable)
    kept = [x.shape[axis] for axis in others]
    if None in kept:
        return None
    order = (*others, *axes)
    y = x if order == tuple(range(1, x.shape.rank)) else parts.layer(_layers.Permute, "moved", {"dims": order}, x)
    y = parts.reshape("joined", (*kept, joined), y) if len(axes) > 1 else y
    y = standardized(parts, y, -1, layer.epsilon)
    y = parts.scaled("scaled", y, factor, shift, trainable=layer.trainable)
    y = parts.reshape("parted", (*kept, *sizes), y) if len(axes) > 1 else y
    return parts.layer(_layers.Permute, "", {"dims": tuple(np.argsort(order) + 1)}, y)


def standardized(parts: Parts, x: Any, axis: Any, epsilon: float) -> Any:
    """Subtract the mean, and divide by the standard deviation."""
    mean = parts.function("math.reduce_mean", "mean", x, axis, keepdims=True)
    centered = parts.function("math.subtract", "centered", x, mean)
    squares = parts.product("squares", centered, centered)
    variance = parts.function("math.reduce_mean", "variance", squares, axis, keepdims=True)
    padded = parts.function("math.add", "padded", variance, float(epsilon))
    return parts.product("standardized", centered, parts.function("math.rsqrt", "reciprocal", padded))


def group_normalization(parts: Parts, layer: Any, x: Any) -> Any:
    """Normalize each group of channels of each example."""
    channels, rank = x.shape[-1], x.shape.rank
    if layer.axis % rank != rank - 1 or None in x.shape[1:]:
        return None
    groups = channels if layer.groups == -1 else layer.groups
    grouped = parts.reshape("grouped", (-1, groups, channels // groups), x)
    y = parts.reshape("ungrouped", tuple(x.shape[1:]), standardized(parts, grouped, [1, 3], layer.epsilon))
    ones = np.ones(channels, np.float32)
    factor = layer.gamma.numpy() if layer.scale else ones
    shift = layer.beta.numpy() if layer.center else 0 * ones
    return parts.scaled("", y, factor, shift, trainable=layer.trainable)


def _of_floats(parts: Parts, x: Any) -> Any:
    """Cast integers, like the layers. The cast stays in front of the quantizer, or becomes it."""
    return x if x.dtype.is_floating else parts.function("cast", "cast", x, tf.float32)


def rescaling(parts: Parts, layer: Any, x: Any) -> Any:
    """Multiply and add constants."""
    channels = x.shape[-1]
    if channels is None or x.shape.rank < 2:
        return None
    x = _of_floats(parts, x)
    factor, shift = (
        np.broadcast_to(np.asarray(one, np.float32).reshape(-1), channels) for one in (layer.scale, layer.offset)
    )
    return parts.scaled("", x, np.array(factor), np.array(shift), trainable=False)


def normalization(parts: Parts, layer: Any, x: Any) -> Any:
    """Subtract the mean, and divide by the deviation, or the inverse, by channel."""
    channels = x.shape[-1]
    mean, variance = (np.asarray(one, np.float32).reshape(-1) for one in (layer.mean, layer.variance))
    if len(mean) not in {1, channels} or channels is None:
        return None
    x = _of_floats(parts, x)
    deviation = np.maximum(np.sqrt(variance), tf.keras.backend.epsilon())
    factor, shift = (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)
    factor, shift = (np.array(np.broadcast_to(one, channels)) for one in (factor, shift))
    return parts.scaled("", x, factor, shift, trainable=False)
