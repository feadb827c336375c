"""Distribute a sparsity over layers by their sensitivity to pruning. Pure NumPy.

Sensitivity is the error of the output when one layer alone is pruned, at several levels (the analysis of Han et al.
2015, arXiv:1506.02626, figure 6). The distribution minimizes the sum of these errors at the required total sparsity:
on the lower convex hulls of the layers' errors, it repeatedly takes the piece with the least slope, in any layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

# Sparsities to measure. The last one is the most that a layer can get.
LEVELS = (0.3, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)


def spread(
    sizes: Sequence[int], levels: Sequence[float], errors: Sequence[Sequence[float]], sparsity: float
) -> tuple[float, ...]:
    """The sparsity of each layer.

    Args:
        sizes: Number of weights of each layer.
        levels: The measured sparsities, ascending, above 0.
        errors: Error of each layer at each level, at least 0.
        sparsity: Required sparsity of all weights together.

    Returns:
        Sparsities from 0 to the highest level. Their mean, weighted by size, is `sparsity`. If `sparsity` is above the
        highest level, every layer gets that level.
    """
    left = sparsity * sum(sizes)
    chosen = [0.0] * len(sizes)
    pieces = [
        (slope / sizes[layer], number, layer, length)
        for layer, of_layer in enumerate(errors)
        for number, (slope, length) in enumerate(_hull(levels, of_layer))
    ]
    # The slopes of a hull ascend, so sorting keeps the order of a layer's pieces.
    for _, _, layer, length in sorted(pieces):
        taken = min(length, left / sizes[layer])
        chosen[layer] += taken
        left -= taken * sizes[layer]
    return tuple(chosen)


def _hull(levels: Sequence[float], errors: Sequence[float]) -> list[tuple[float, float]]:
    """The slope and length of each piece of the lower convex hull, starting at (0, 0)."""
    # If more zeros have a smaller error, that is noise.
    points = [(0.0, 0.0), *zip(levels, np.maximum.accumulate(errors).tolist(), strict=True)]
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [(_slope(a, b), b[0] - a[0]) for a, b in pairwise(hull)]


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])
