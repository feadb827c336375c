"""Accumulated facts about the parts of the examples that the jackknife leaves out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.evaluate.outputs.units import Units

# Extracts key of an example's bucket, a number below BUCKETS, or the number of its group. It depends only on the
# example's bytes, so that order, sharding, and runner don't affect intervals.
BUCKET_KEY = "jackknife_bucket"


class Part(NamedTuple):
    """Accumulated facts about some examples.

    Attributes:
        size: Their number.
        sums: The sums of `MEANS_KEY`.
        accumulators: One accumulator for each computation.
        groups: Bits of their groups (`components.evaluate.groups`); 0 without groups.
        units: The contributions of the slice's units. Only the sum over all parts matters, so they can be in any part.
        keys: The units of the examples, in the order of the accumulators; empty if no metric needs them.
    """

    size: int
    sums: npt.NDArray[np.float64] | float
    accumulators: list[Any]
    groups: int = 0
    units: Units | None = None
    keys: tuple[npt.NDArray[np.int64], ...] = ()


Buckets = dict[int, Part]
