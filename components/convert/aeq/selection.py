"""Which layers stay float: what quantizing each alone costs, and how few must not be. Pure functions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import ConversionError
from components.facts.conversion import FloatSearch

_LOG = logging.getLogger(__name__)


class UnmetBoundError(ConversionError):
    """No choice of float layers holds the declared accuracy. The user's to relax, or to try another recipe."""


def relative_error(reference: npt.NDArray[Any], candidate: npt.NDArray[Any]) -> float:
    """Energy of the error over energy of the signal, sum((c - r)**2) / sum(r**2): the inverse of the
    signal-to-quantization-noise ratio.
    """
    wide = reference.astype(np.float64)
    signal = float(np.sum(wide**2))
    noise = float(np.sum((candidate.astype(np.float64) - wide) ** 2))
    return noise / signal if signal else float(noise > 0)


def fewest_float(
    count: int,
    value_of: Callable[[int], float],
    *,
    metric: str,
    examples: int,
    float_value: float,
    max_drop: float,
    less_is_better: bool,
) -> FloatSearch:
    """The smallest number of layers to leave float, most sensitive first, that holds a bound.

    Each number is tried from 0 on: leaving one more layer float need not help, so halving could miss the smallest.

    Args:
        count: Number of layers.
        value_of: The metric with that many of the most sensitive layers left float.
        metric: Its name.
        examples: What it is computed on.
        float_value: What the float model has.
        max_drop: How much worse it may be.
        less_is_better: Which way the metric improves.

    Returns:
        What was tried; the last of its drops is at most `max_drop`.

    Raises:
        UnmetBoundError: None of them.
    """
    drops: list[float] = []
    for kept in range(count + 1):
        value = value_of(kept)
        drops.append(value - float_value if less_is_better else float_value - value)
        _LOG.info("%d of %d layers float: %s %.6g, %+.3g worse than float", kept, count, metric, value, drops[-1])
        # What is met exactly passes; metrics are float32 somewhere on their way.
        if drops[-1] <= max_drop + 2.0**-23 * max(abs(value), abs(float_value)):
            return FloatSearch(
                metric=metric, examples=examples, float_value=float_value, max_drop=max_drop, drops=tuple(drops)
            )
    best = int(np.nanargmin(drops)) if np.isfinite(drops).any() else 0
    raise UnmetBoundError(
        f"{metric} on the {examples} calibration examples stays too far from the float model's {float_value:.6g}, "
        "whichever number of the most sensitive layers is left float",
        where="keep_float",
        bound=f"at most {max_drop:.6g} worse",
        measured=f"{drops[best]:.6g} worse with {best} of {count} layers float",
        remedy="raise max_drop, take more calibration samples, or try `calibration_method: mse` or static_wi8_ai16",
    )
