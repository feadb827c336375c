"""Spreading a sparsity over layers by how much each one's zeros cost. Pure numpy.

The zeros of one layer alone are tried at several levels, and the output's error is measured (as the one-at-a-time
analysis of Han et al. 2015, arXiv:1506.02626, figure 6). Then the sum of errors is made least among all choices that
have the sparsity together: on the lower convex hull of each layer's errors the best choice takes the flattest piece
next, whatever layer it is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

# Sparsities that are tried, and the most that a layer can be given.
LEVELS = (0.3, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)


def spread(
    sizes: Sequence[int], levels: Sequence[float], errors: Sequence[Sequence[float]], sparsity: float
) -> tuple[float, ...]:
    """The sparsity of each layer.

    Args:
        sizes: Number of weights of each layer.
        levels: Sparsities that were tried, ascending, above 0.
        errors: Of each layer at each level, at least 0.
        sparsity: Of all weights together.

    Returns:
        Sparsities from 0 to the highest level whose mean, weighted by size, is `sparsity`; or that level for all, if
        it is less.
    """
    left = sparsity * sum(sizes)
    chosen = [0.0] * len(sizes)
    pieces = [
        (slope / sizes[layer], number, layer, length)
        for layer, of_layer in enumerate(errors)
        for number, (slope, length) in enumerate(_hull(levels, of_layer))
    ]
    # Slopes of a hull ascend, so a layer's pieces come in their order.
    for _, _, layer, length in sorted(pieces):
        taken = min(length, left / sizes[layer])
        chosen[layer] += taken
        left -= taken * sizes[layer]
    return tuple(chosen)


def _hull(levels: Sequence[float], errors: Sequence[float]) -> list[tuple[float, float]]:
    """The pieces of the lower convex hull from (0, 0) on: slope and length of each."""
    # More zeros that cost less were chance.
    points = [(0.0, 0.0), *zip(levels, np.maximum.accumulate(errors).tolist(), strict=True)]
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [(_slope(a, b), b[0] - a[0]) for a, b in pairwise(hull)]


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])
