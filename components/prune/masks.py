"""Pruning masks by magnitude: single weights, two of four, or blocks. Pure NumPy.

TFMOT's masks don't fit: its blocks lie along the output axis, where no TFLite kernel executes them, and it supports
blocks in matrices only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from components.spec.steps.prune import group_of
from components.spec.steps.sparsity import Structure


def mask_of(
    values: npt.NDArray[Any], sparsity: float, structure: Structure = "unstructured", input_axis: int | None = None
) -> npt.NDArray[np.bool_]:
    """The pruning mask of a kernel.

    Args:
        values: A kernel of any shape.
        sparsity: Fraction of zeros. It is rounded to whole weights or blocks, and at least one always stays.
        structure: Structure of the zeros. `2:4` ignores `sparsity`, unless that is 0.
        input_axis: The axis that groups and blocks lie along. Its length must be a multiple of their length.

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
