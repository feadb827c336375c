"""What is observed of a model's outputs while it predicts: saturated values, and the float model's ranges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from components.predict.report import StoredOutput
from components.predict.saturation import Counts, merged
from components.ranges.unequal import AxisRanges, union


@dataclass
class Observed:
    """What was observed of the outputs for some examples, before `postprocess` unless said otherwise.

    Attributes:
        examples: Their number.
        output_names: Names of the model's outputs.
        forms: Output after `postprocess` -> its form.
        counts: Saturated values of a TFLite file.
        ranges: Name of an output -> the float model's ranges.
    """

    examples: int = 0
    output_names: tuple[str, ...] = ()
    forms: dict[str, StoredOutput] = field(default_factory=dict)
    counts: Counts = field(default_factory=dict)
    ranges: dict[str, AxisRanges] = field(default_factory=dict)


def all_observed(parts: Iterable[Observed]) -> Observed:
    """Merge what was observed of different examples."""
    total = Observed()
    for part in parts:
        total.examples += part.examples
        total.output_names = total.output_names or part.output_names
        total.forms = total.forms or part.forms
        total.counts = merged((total.counts, part.counts))
        for output, ranges in part.ranges.items():
            total.ranges[output] = union(total.ranges.get(output, {}), ranges)
    return total
