"""Check that a file has the ranges that were trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.facts.training import TrainedRange
from components.model.tflite_file import scales_of

# The file holds float32 scales, computed from float32 limits.
_RELATIVE = 1e-6


def lost_ranges(content: bytes, ranges: Sequence[TrainedRange]) -> tuple[str, ...]:
    """The names of trained ranges whose scale and zero point no tensor of the file has.

    Args:
        content: A TFLite file.
        ranges: Trained ranges of activations.
    """
    held = scales_of(content)
    return tuple(
        one.tensor
        for one in ranges
        if not any(
            zero_point == one.zero_point and math.isclose(scale, one.scale, rel_tol=_RELATIVE)
            for scale, zero_point in held
        )
    )
