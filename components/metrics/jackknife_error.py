"""The jackknife's standard error of a statistic, from its values without each part of the examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def standard_error(estimate: float, without: Sequence[float], sizes: Sequence[int], grouped: bool = False) -> float:
    """Return the jackknife standard error.

    It is that of the delete-m_j jackknife (Busing, Meijer & van der Leeden 1999), which assumes that the variance of a
    bucket's mean is inversely proportional to its size. That isn't true of groups whose examples are alike: if their
    sizes differ, the error would be too small. So for groups, it is that of the delete-a-group jackknife (Kott 2001).

    Args:
        estimate: The statistic of all n examples.
        without: For each of at least 2 buckets, the statistic of all examples outside it.
        sizes: The number of examples m_j in each bucket.
        grouped: Whether each bucket has whole groups of examples.
    """
    deleted, m = np.asarray(without, np.float64), np.asarray(sizes, np.float64)
    n, buckets = m.sum(), len(m)
    if grouped:
        return math.sqrt((1 - 1 / buckets) * ((deleted - estimate) ** 2).sum())
    h = n / m
    pseudo = h * estimate - (h - 1) * deleted
    mean = buckets * estimate - ((1 - m / n) * deleted).sum()
    return math.sqrt((((pseudo - mean) ** 2) / (h - 1)).sum() / buckets)
