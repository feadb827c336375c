"""Observations of a model's outputs during prediction: saturated values, and the float model's ranges."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.predict.report import StoredOutput
from components.predict.saturation import Count, Counts, merged
from components.ranges.unequal import AxisRanges, union


@dataclass
class Observed:
    """Observations of the outputs for some examples, before `postprocess` unless noted otherwise.

    Attributes:
        examples: Number of the examples.
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

    def add(self, other: Observed) -> None:
        """Add the observations of other examples."""
        self.examples += other.examples
        self.output_names = self.output_names or other.output_names
        self.forms = self.forms or other.forms
        self.counts = merged((self.counts, other.counts))
        for output, ranges in other.ranges.items():
            self.ranges[output] = union(self.ranges.get(output, {}), ranges)

    def to_json(self) -> str:
        """Return the observations as JSON, which `from_json` reads."""
        return json.dumps(
            {
                "examples": self.examples,
                "output_names": self.output_names,
                "forms": {name: form.model_dump() for name, form in self.forms.items()},
                "counts": [(*place, count.lost, count.values) for place, count in self.counts.items()],
                "ranges": {
                    output: [(axis, ends.tolist()) for axis, ends in axes.items()]
                    for output, axes in self.ranges.items()
                },
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Observed:
        """Read the result of `to_json`."""
        read: dict[str, Any] = json.loads(text)
        return cls(
            read["examples"],
            tuple(read["output_names"]),
            {name: StoredOutput.model_validate(form) for name, form in read["forms"].items()},
            {(output, index): Count(lost, values) for output, index, lost, values in read["counts"]},
            {
                output: {axis: np.array(ends, np.float64) for axis, ends in axes}
                for output, axes in read["ranges"].items()
            },
        )


def all_observed(parts: Iterable[Observed]) -> Observed:
    """Merge the observations of different examples."""
    total = Observed()
    for part in parts:
        total.add(part)
    return total
