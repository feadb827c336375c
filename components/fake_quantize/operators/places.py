"""Means of constants weighted by a softmax over many positions, in steps that 8 bits resolve. Imports TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.fake_quantize.operators.parts import Parts
from components.upstream.keras import argument_behind, layer_behind

_layers = tf.keras.layers
# The 8-bit kernel of a softmax has steps of 1/256. Equal shares of more places than this have fewer than 4 steps.
_MOST_PLACES = 64
# Each constant of a place costs two operators.
_MOST_CONSTANTS = 4


def mean_of_places(parts: Parts, shares: Any, values: npt.NDArray[np.float32]) -> Any:
    """The product of shares with constants, such as the mean position of a heatmap; None if 8 bits already resolve it.

    Positions are joined in groups. A softmax in each group gives the mean of the group, and another one over the groups
    gives the groups' shares, from the logarithms of the sums of exponentials. Each softmax has few positions, so its
    steps are small compared with its values. The mean of the constants is subtracted before and added after: then it
    doesn't matter if rounded shares sum up to a little more or less than 1.

    Args:
        parts: Adds layers.
        shares: The output of a layer, [batch, ..., places].
        values: The constants, [places, K].

    Returns:
        [batch, ..., K], equal to `shares @ values`.
    """
    places, width = values.shape
    logits = _logits(shares)
    groups = _groups(places)
    if (
        logits is None
        or places <= _MOST_PLACES
        or width > _MOST_CONSTANTS
        or groups is None
        or None in shares.shape[1:]
    ):
        return None
    each, outer, center = places // groups, tuple(shares.shape[1:-1]), values.mean(0)
    rows = math.prod(outer)
    grouped = parts.reshape("grouped", (rows, groups, each), logits)
    within = parts.layer(_layers.Softmax, "within", {}, grouped)
    highest = parts.function("math.reduce_max", "highest", grouped, axis=-1, keepdims=True)
    powers = parts.activation("exponential", "powers", parts.function("math.subtract", "below", grouped, highest))
    log = parts.function("math.log", "log", parts.function("math.reduce_sum", "sums", powers, axis=-1))
    sums = parts.function("math.add", "logits", parts.reshape("highest/row", (rows, groups), highest), log)
    of_groups = parts.layer(_layers.Softmax, "groups", {}, sums)
    parted = (values - center).reshape(groups, each, width)
    middle = parted.mean(1)
    means = [_mean(parts, f"means_{index}", within, (parted - middle[:, None])[..., index]) for index in range(width)]
    joined = parts.layer(_layers.Concatenate, "means", {}, means) if width > 1 else means[0]
    moved = parts.function("math.add", "moved", joined, middle)
    weights = parts.reshape("groups/row", (rows, 1, groups), of_groups)
    mean = parts.reshape("mean", (*outer, width), parts.function("linalg.matmul", "weighted", weights, moved))
    return parts.function("math.add", "", mean, center)


def _mean(parts: Parts, name: str, within: Any, values: npt.NDArray[np.float32]) -> Any:
    """The mean of constants [groups, places] in each group: [batch, ..., groups, 1]."""
    return parts.function("math.reduce_sum", name, parts.product(f"{name}/products", within, values), axis=-1,
                          keepdims=True)  # fmt: skip


def _logits(shares: Any) -> Any:
    """The input of a softmax along the last axis; None if the layer isn't such a softmax."""
    layer = layer_behind(shares)
    match type(layer).__name__:
        case "Softmax":
            found = layer.axis in {-1, shares.shape.rank - 1}
        case "Activation":
            found = layer.activation is tf.keras.activations.softmax
        case _:
            found = False
    return argument_behind(shares) if found else None


def _groups(places: int) -> int | None:
    """The number of groups that is closest to the number of places in each; None if no number helps."""
    found = max(one for one in range(1, math.isqrt(places) + 1) if places % one == 0)
    return found if places // found <= _MOST_PLACES else None
