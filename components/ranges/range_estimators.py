"""Estimators of the quantization range of an activation from a histogram of its values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_never

from components.ranges.histogram import ActivationHistogram
from components.spec.ranges import Entropy, MeanSquaredError, MinMax, Percentile, Ranges

Array = npt.NDArray[Any]

# Candidate thresholds as fractions of the extreme value: 2% apart, down to a thousandth. The error is flat around its
# minimum, so finer steps don't help.
_SHRINKING = 0.98 ** np.arange(343)
# Bins of the reference distribution, as in Migacz; number of thresholds; smoothing of the quantized distribution.
_KL_BINS, _KL_CANDIDATES, _KL_SMOOTHING = 2048, 100, 1e-4


def estimate_range(histogram: ActivationHistogram, ranges: Ranges, bits: int) -> tuple[float, float]:
    """Estimate the smallest and the largest value that a quantized tensor represents.

    Args:
        histogram: The tensor's values over the calibration sample.
        ranges: The estimator.
        bits: 8 is asymmetric; 16 is symmetric, as TFLite's kernels require.

    Returns:
        A range that includes zero, because padding must be exact (arXiv:1712.05877, 2.1).
    """
    if not histogram.total:
        return 0.0, 0.0
    match ranges:
        case MinMax():
            low, high = histogram.minimum, histogram.maximum
        case Percentile():
            part = ranges.percentile / 100
            low, high = histogram.quantile(1 - part), histogram.quantile(part)
        case MeanSquaredError():
            low, high = _least_squares(histogram, bits)
        case Entropy():
            low, high = _least_divergence(histogram, bits)
        case _:
            assert_never(ranges)
    low, high = min(low, 0.0), max(high, 0.0)
    if bits == 16:
        bound = max(-low, high)
        return -bound, bound
    return low, high


def _least_squares(histogram: ActivationHistogram, bits: int) -> tuple[float, float]:
    """Minimal squared error (Nagel et al. 2021, arXiv:2106.08295, 3.1; Choukroun et al. 2019, arXiv:1902.06822).

    The error of a range [low, high] with step s = (high - low) / (2**bits - 1) is the sum of (x - high)**2 above it,
    of (low - x)**2 below it, and of s**2 / 12 for each nonzero value inside it. Zeros are exact.
    """
    centers, counts = histogram.centers(), histogram.nonzero_counts()
    sums = [np.concatenate([[0.0], np.cumsum(counts * centers**power)]) for power in range(3)]

    def clipped(bounds: Array, places: Array, above: bool) -> Array:
        zeroth, first, second = (total[-1] - total[places] if above else total[places] for total in sums)
        return second - 2 * bounds * first + bounds**2 * zeroth

    if bits == 16:
        highs = max(-histogram.minimum, histogram.maximum) * _SHRINKING
        lows, steps = -highs, 2**bits - 2
    else:
        highs = max(histogram.maximum, 0.0) * _SHRINKING if histogram.maximum > 0 else np.zeros(1)
        lows = min(histogram.minimum, 0.0) * _SHRINKING if histogram.minimum < 0 else np.zeros(1)
        steps = 2**bits - 1
    above, below = np.searchsorted(centers, highs, "right"), np.searchsorted(centers, lows, "left")
    too_high, too_low = clipped(highs, above, above=True), clipped(lows, below, above=False)
    if bits == 16:
        inside = sums[0][above] - sums[0][below]
        best = int(np.argmin(too_high + too_low + (highs - lows) ** 2 * inside / (12 * steps**2)))
        return float(lows[best]), float(highs[best])
    inside = sums[0][above][None, :] - sums[0][below][:, None]
    step = (highs[None, :] - lows[:, None]) / steps
    errors = too_low[:, None] + too_high[None, :] + step**2 / 12 * inside
    low, high = np.unravel_index(int(np.argmin(errors)), errors.shape)
    return float(lows[low]), float(highs[high])


def _least_divergence(histogram: ActivationHistogram, bits: int) -> tuple[float, float]:
    """Minimum Kullback-Leibler divergence (Migacz 2017, "8-bit Inference with TensorRT").

    For a threshold T, the reference is the distribution of magnitudes up to T, with all larger magnitudes in its last
    bin. The candidate is the same distribution in as many levels as the integers have. Unlike in the original, the 2048
    bins span 99.9% of the magnitudes and further bins follow, so a far outlier does not reduce the resolution of the
    other values. Exact zeros are not counted, because integers represent them exactly.
    """
    fine = histogram.magnitudes()
    if not fine.any():
        return 0.0, 0.0
    most = int(np.searchsorted(np.cumsum(fine), 0.999 * fine.sum())) + 1
    group = max(1, most // _KL_BINS)
    magnitudes = np.add.reduceat(fine, np.arange(0, fine.size, group))
    both_signs = histogram.minimum < 0 < histogram.maximum
    levels = 2 ** (bits - 1) if both_signs else 2**bits
    counts = np.geomspace(min(levels, magnitudes.size), magnitudes.size, _KL_CANDIDATES).astype(int)
    # The widest of equal candidates.
    best = min(np.unique(counts)[::-1].tolist(), key=lambda count: _divergence(magnitudes, count, levels))
    bound = best * group * histogram.width
    return max(histogram.minimum, -bound), min(histogram.maximum, bound)


def _divergence(magnitudes: Array, count: int, levels: int) -> float:
    kept = magnitudes[:count].astype(np.float64)
    if not kept.any():
        return float("inf")
    reference = kept.copy()
    reference[-1] += magnitudes[count:].sum()
    step = np.arange(count) * levels // count
    filled = np.bincount(step, weights=kept > 0)
    level = np.bincount(step, weights=kept) / np.maximum(filled, 1)
    candidate = np.where(kept > 0, level[step], 0.0)
    reference /= reference.sum()
    candidate = (1 - _KL_SMOOTHING) * candidate / candidate.sum() + _KL_SMOOTHING / count
    some = reference > 0
    return float(np.sum(reference[some] * np.log(reference[some] / candidate[some])))
