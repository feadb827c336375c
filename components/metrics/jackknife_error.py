"""The jackknife's standard error of a statistic, from its values without each part of the examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def standard_error(estimate: float, without: Sequence[float], sizes: Sequence[int]) -> float:
    """Return the delete-m_j jackknife standard error.

    Args:
        estimate: The statistic of all n examples.
        without: For each of at least 2 buckets, the statistic of all examples outside it.
        sizes: The number of examples m_j in each bucket.
    """
    deleted, m = np.asarray(without, np.float64), np.asarray(sizes, np.float64)
    n, buckets = m.sum(), len(m)
    h = n / m
    pseudo = h * estimate - (h - 1) * deleted
    mean = buckets * estimate - ((1 - m / n) * deleted).sum()
    return math.sqrt((((pseudo - mean) ** 2) / (h - 1)).sum() / buckets)
