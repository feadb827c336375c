"""Select the layers that stay in float: the error of each quantized layer, and the fewest float layers. Pure
functions."""

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
    """No number of float layers meets the accuracy bound. The user can relax the bound or try another recipe."""


def relative_error(reference: npt.NDArray[Any], candidate: npt.NDArray[Any]) -> float:
    """Energy of the error over energy of the signal, sum((c - r)**2) / sum(r**2).

    It is the inverse of the signal-to-quantization-noise ratio.
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
    """Find the smallest number of float layers, most sensitive first, that meets a bound.

    `value_of` maps a number of float layers to the value of the metric; for the other arguments, see `FloatSearch`.
    Numbers are tried in order from 0. Binary search could miss the smallest one, because one more float layer doesn't
    always help.

    Raises:
        UnmetBoundError: No number meets the bound.
    """
    drops: list[float] = []
    for kept in range(count + 1):
        value = value_of(kept)
        drops.append(value - float_value if less_is_better else float_value - value)
        _LOG.info("%d of %d layers float: %s %.6g, %+.3g worse than float", kept, count, metric, value, drops[-1])
        # The margin lets an exactly met bound pass, because metrics are computed partly in float32.
        if drops[-1] <= max_drop + 2.0**-23 * max(abs(value), abs(float_value)):
            return FloatSearch(
                metric=metric, examples=examples, float_value=float_value, max_drop=max_drop, drops=tuple(drops)
            )
    best = int(np.nanargmin(drops)) if np.isfinite(drops).any() else 0
    raise UnmetBoundError(
        f"{metric} on the {examples} calibration examples stays too far from the float model's {float_value:.6g}, "
        "no matter how many of the most sensitive layers stay in float",
        where="keep_float",
        bound=f"at most {max_drop:.6g} worse",
        measured=f"{drops[best]:.6g} worse with {best} of {count} layers float",
        remedy="raise max_drop, use more calibration samples, or try `calibration_method: mse` or static_wi8_ai16",
    )
