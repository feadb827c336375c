"""Finds outputs of a file in which some channels get few integers, because others need a wide range."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from components.facts.evaluation import UnequalRanges
from components.ranges.unequal import AxisRanges, crowded


def unequal_ranges(scales: Mapping[str, float], ranges: Mapping[str, AxisRanges]) -> tuple[UnequalRanges, ...]:
    """Return the outputs of a file in which some channels get few integers, because others need a wide range.

    Args:
        scales: Output of the file -> size of one step.
        ranges: Output -> the float model's ranges.
    """
    if len(ranges) == len(scales) == 1:
        # A file without a signature has other names.
        scales = dict(zip(ranges, scales.values(), strict=True))
    found = {name: crowded(ranges[name], scale) for name, scale in scales.items() if name in ranges}
    return tuple(
        UnequalRanges(output=name, step=scales[name], **dataclasses.asdict(each))
        for name, each in found.items()
        if each is not None
    )
