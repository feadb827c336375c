"""Computes pruning masks by magnitude, and distributes a sparsity over layers by their sensitivity. Pure NumPy.

Masks keep single weights, two of every four, or blocks. TFMOT's masks don't fit: its blocks are along the output axis,
where no TFLite kernel executes them, and it supports blocks only in matrices.

Sensitivity is the error of the output when one layer alone is pruned, at several levels (the analysis of Han et al.
2015, arXiv:1506.02626, figure 6). The distribution minimizes the sum of these errors at the required total sparsity:
on the lower convex hulls of the layers' errors, it repeatedly takes the piece with the smallest slope, in any layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from components.spec.steps.prune import group_of
from components.spec.steps.sparsity import Structure

# Sparsities to measure. The last one is the most that a layer can get.
LEVELS = (0.3, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)


def mask_of(
    values: npt.NDArray[Any], sparsity: float, structure: Structure = "unstructured", input_axis: int | None = None
) -> npt.NDArray[np.bool_]:
    """The pruning mask of a kernel.

    Args:
        values: A kernel of any shape.
        sparsity: Fraction of zeros. It is rounded to whole weights or blocks, and at least one always stays.
        structure: Structure of the zeros. `2:4` ignores `sparsity`, unless that is 0.
        input_axis: The axis of groups and blocks. Its length must be a multiple of their length.

    Returns:
        Boolean array of the kernel's shape; False where weights become zero.
    """
    if sparsity == 0:
        return np.ones(values.shape, bool)
    if structure == "unstructured":
        return _keeping_largest(np.abs(values).reshape(-1), zeros_of(values.size, sparsity)).reshape(values.shape)
    assert input_axis is not None
    moved = np.moveaxis(values, input_axis, -1)
    groups = np.abs(moved).reshape(-1, group_of(structure))
    if structure == "2:4":
        order = np.argsort(groups, axis=1, kind="stable")
        kept = np.zeros(groups.shape, bool)
        np.put_along_axis(kept, order[:, 2:], True, axis=1)
    else:
        blocks = _keeping_largest(groups.sum(axis=1), zeros_of(len(groups), sparsity))
        kept = np.broadcast_to(blocks[:, None], groups.shape)
    return np.moveaxis(kept.reshape(moved.shape), -1, input_axis)


def zeros_of(count: int, sparsity: float) -> int:
    """How many of `count` weights or blocks become zero."""
    return min(round(sparsity * count), count - 1)


def _keeping_largest(scores: npt.NDArray[Any], zeros: int) -> npt.NDArray[np.bool_]:
    kept = np.ones(len(scores), bool)
    if zeros:
        kept[np.argpartition(scores, zeros - 1)[:zeros]] = False
    return kept


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
    # A smaller error with more zeros is noise.
    points = [(0.0, 0.0), *zip(levels, np.maximum.accumulate(errors).tolist(), strict=True)]
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [(_slope(a, b), b[0] - a[0]) for a, b in pairwise(hull)]


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])
