"""Checks whether a file returns the same for a single example and for a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.ranges.affine import Array

PROBES = 3
# Relative to the largest output. Float kernels may sum in a different order at a different batch size.
_FLOAT_TOLERANCE = 1e-4


def random_values(detail: Mapping[str, Any], shape: Sequence[int], random: np.random.Generator) -> Array:
    """Random raw values of the given shape for an input, given its details."""
    dtype = np.dtype(detail["dtype"])
    if detail["quantization"][0]:
        bounds = np.iinfo(dtype)
        return random.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    # Token IDs and flags: 0 is the only value in every vocabulary.
    return np.zeros(shape, dtype)


def same_outputs(alone: Array, together: Array) -> bool:
    """Whether the outputs of single examples and of a batch match, up to the order of float additions."""
    if alone.shape != together.shape:
        return False
    if together.dtype.kind == "f":
        scale = float(np.abs(alone).max(initial=0.0)) or 1.0
        return bool(np.allclose(alone, together, rtol=0, atol=_FLOAT_TOLERANCE * scale))
    return np.array_equal(alone, together)
