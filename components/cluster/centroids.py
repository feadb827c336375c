"""Weights to a few shared values: where these start, and one-dimensional k-means. Imports TensorFlow.

The values start where TFMOT's initializers have them. Its wrappers are not used: they take no nested models and no
recurrent layers, and choose again with each batch which weight has which value, so that nothing settles.
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
# In one dimension it settles within a few tens.
_ROUNDS = 100


def clustered(
    values: npt.NDArray[Any], centroids: int, initialization: Initialization = "linear", zeros: bool = False
) -> npt.NDArray[Any]:
    """The weights of a kernel, each as the nearest of a few values.

    Args:
        values: float32 of any shape.
        centroids: Number of values, at most.
        initialization: Where they start from; `random` draws from TensorFlow's global seed.
        zeros: Whether zero is one of them, for the weights that are zero and no others.

    Returns:
        Like `values`, with at most so many different ones; each but a kept zero is the mean of the weights it stands
        for (Lloyd's algorithm).
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
        # A value that no weight is next to is of no use.
        moved = (sums / np.maximum(counts, 1))[counts > 0]
        if len(moved) == len(held) and np.array_equal(moved, held):
            break
        held = moved
    nearest = np.searchsorted((held[1:] + held[:-1]) / 2, members)
    result = np.zeros_like(flat)
    result[flat != 0 if keeps_zero else slice(None)] = held.astype(flat.dtype)[nearest]
    return result.reshape(values.shape)
