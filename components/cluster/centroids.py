"""Clustering of weights by one-dimensional k-means. Imports TensorFlow.

TFMOT's initializers set the initial centroids. Its wrappers are not used: they support neither nested models nor
recurrent layers, and they reassign weights to centroids with each batch, so that training doesn't converge.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from components.spec.steps.cluster import Initialization
from components.upstream.tfmot import initial_centroids

_KINDS = {
    "linear": "LINEAR",
    "random": "RANDOM",
    "density": "DENSITY_BASED",
    "kmeans++": "KMEANS_PLUS_PLUS",
}
# In one dimension, k-means converges within a few tens of rounds.
_ROUNDS = 100


def clustered(
    values: npt.NDArray[Any], centroids: int, initialization: Initialization = "linear", zeros: bool = False
) -> npt.NDArray[Any]:
    """Replace each weight of a kernel by its centroid.

    Args:
        values: float32 of any shape.
        centroids: Maximum number of centroids.
        initialization: How to choose the initial centroids. `random` depends on TensorFlow's global seed.
        zeros: Whether one centroid is zero, for exactly the weights that are zero.

    Returns:
        Array like `values` with at most `centroids` distinct values. Each of them, except a preserved zero, is the mean
        of the weights it replaces (Lloyd's algorithm).
    """
    flat = values.reshape(-1)
    keeps_zero = zeros and bool(np.any(flat == 0))
    start = initial_centroids(_KINDS[initialization], flat, centroids, keeps_zero)
    members = flat[flat != 0] if keeps_zero else flat
    held = np.unique(start[start != 0] if keeps_zero else start).astype(np.float64)
    nearest = np.zeros(len(members), np.int64)
    for _ in range(_ROUNDS):
        nearest = np.searchsorted((held[1:] + held[:-1]) / 2, members)
        counts = np.bincount(nearest, minlength=len(held))
        sums = np.bincount(nearest, members.astype(np.float64), minlength=len(held))
        # Drop centroids without weights.
        moved = (sums / np.maximum(counts, 1))[counts > 0]
        if len(moved) == len(held) and np.array_equal(moved, held):
            break
        held = moved
    nearest = np.searchsorted((held[1:] + held[:-1]) / 2, members)
    result = np.zeros_like(flat)
    result[flat != 0 if keeps_zero else slice(None)] = held.astype(flat.dtype)[nearest]
    return result.reshape(values.shape)
