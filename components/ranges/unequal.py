"""Finds channels that share a quantized range with much wider ones, which leaves few integers for them.

A tensor of a file has one scale. If boxes from 0 to 300 and scores from 0 to 1 are concatenated, one int8 step is 1.2,
and all scores become 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Axis -> smallest and largest value of each channel along it, float64 [2, channels].
AxisRanges = dict[int, Array]

# With fewer steps than this (3 bits), a channel counts as collapsed.
FEWEST_STEPS = 8
_MOST_CHANNELS = 1024


@dataclass(frozen=True)
class Crowded:
    """Channels with too few steps.

    Attributes:
        axis: The axis of the channels; 0 is the batch.
        channels: Their indexes.
        low, high: Smallest and largest value of these channels.
        steps: The maximum number of steps of the scale that one of them covers.
        widest_low, widest_high: Range of the widest channel.
    """

    axis: int
    channels: tuple[int, ...]
    low: float
    high: float
    steps: float
    widest_low: float
    widest_high: float


def ranges_along_axes(values: Array) -> AxisRanges:
    """Smallest and largest value of each channel of a batch of outputs [N, ...].

    Channels are along the last axis, and also along the axis after the batch if these are different axes. Outputs
    without two channels have none.
    """
    axes = {values.ndim - 1, 1} if values.ndim == 3 else {values.ndim - 1}
    found: AxisRanges = {}
    for axis in sorted(axes - {0}):
        if 1 < values.shape[axis] <= _MOST_CHANNELS and values.size and values.dtype.kind == "f":
            others = tuple(each for each in range(values.ndim) if each != axis)
            found[axis] = np.stack([values.min(axis=others), values.max(axis=others)]).astype(np.float64)
    return found


def union(one: Mapping[int, Array], other: Mapping[int, Array]) -> AxisRanges:
    """The ranges of two batches of the same output together."""
    joined = {**other, **one}
    for axis in one.keys() & other.keys():
        low, high = np.minimum(one[axis][0], other[axis][0]), np.maximum(one[axis][1], other[axis][1])
        joined[axis] = np.stack([low, high])
    return joined


def crowded(ranges: Mapping[int, Array], scale: float) -> Crowded | None:
    """The channels that cover fewer than `FEWEST_STEPS` steps because other channels of the tensor need a wide range.

    Args:
        ranges: The float model's values, from `ranges_along_axes`.
        scale: The size of one step of the quantized tensor.

    Returns:
        None if there are none. Channels whose values are all equal don't count.
    """
    for axis in sorted(ranges, reverse=True):
        low, high = ranges[axis]
        widths = high - low
        narrow = np.flatnonzero((widths > 0) & (widths < FEWEST_STEPS * scale))
        widest = int(widths.argmax())
        # If even the widest channel has few steps, unequal ranges aren't the cause.
        if narrow.size and widths[widest] >= 4 * FEWEST_STEPS * scale:
            return Crowded(
                axis=axis,
                channels=tuple(narrow.tolist()),
                low=float(low[narrow].min()),
                high=float(high[narrow].max()),
                steps=float(widths[narrow].max() / scale),
                widest_low=float(low[widest]),
                widest_high=float(high[widest]),
            )
    return None
