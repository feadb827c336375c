"""Aggregates what an evaluation's workers observed of outputs: saturated values, and the float model's ranges."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np

from components.core.files import write_atomically
from components.evaluate.saturation import Counts, merged, shares
from components.facts.evaluation import UnequalRanges
from components.ranges.unequal import AxisRanges, crowded, union

_FILE = "observed.json"


@dataclass
class Observed:
    """What was observed of the outputs for some examples, before `postprocess`.

    Attributes:
        counts: Name of a TFLite model -> its saturated values.
        ranges: Name of an output -> the float model's ranges.
    """

    counts: dict[str, Counts] = field(default_factory=dict)
    ranges: dict[str, AxisRanges] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """What was observed for all examples.

    Attributes:
        shares: Name of a TFLite model -> output -> share of saturated values; without outputs that can't saturate.
        ranges: As for `Observed`.
    """

    shares: dict[str, dict[str, float]]
    ranges: dict[str, AxisRanges]


@beam.ptransform_fn
def WriteObserved(batches: Any, folder: Path) -> Any:
    """Merge the `Observed` of all batches, and write the summary."""
    return batches | beam.CombineGlobally(_all_merged) | beam.Map(functools.partial(_write, path=str(folder / _FILE)))


def take_observed(folder: Path) -> Summary:
    """Read the summary, and remove the file that `WriteObserved` wrote."""
    path = folder / _FILE
    held = json.loads(path.read_bytes())
    path.unlink()
    return Summary(
        held["shares"],
        {
            output: {int(axis): np.asarray(ends) for axis, ends in axes.items()}
            for output, axes in held["ranges"].items()
        },
    )


def unequal_ranges(scales: Mapping[str, float], ranges: Mapping[str, AxisRanges]) -> tuple[UnequalRanges, ...]:
    """Return the outputs of a file in which channels have few integers, because others need a wide range.

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


def _all_merged(batches: Iterable[Observed]) -> Observed:
    total = Observed()
    for batch in batches:
        for name, counts in batch.counts.items():
            total.counts[name] = merged((total.counts.get(name, {}), counts))
        for output, ranges in batch.ranges.items():
            total.ranges[output] = union(total.ranges.get(output, {}), ranges)
    return total


def _write(observed: Observed, path: str) -> None:
    summary = {
        "shares": {name: shares(counts) for name, counts in observed.counts.items()},
        "ranges": {
            output: {axis: ends.tolist() for axis, ends in axes.items()} for output, axes in observed.ranges.items()
        },
    }
    write_atomically(Path(path), json.dumps(summary).encode())
