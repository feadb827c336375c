"""Refuses an evaluation in which all examples have one class, because its metrics say nothing about other classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import tensorflow_model_analysis as tfma

from components.core.errors import DataError


class Extremes(NamedTuple):
    """The smallest and the largest target of some examples. Integers stay exact."""

    least: float
    greatest: float
    examples: int


@beam.ptransform_fn
def RefuseOneClass(extracts: Any, split: str, partial: bool = False) -> Any:
    """Raise a DataError if the targets of an output are the same class in all examples.

    A class is one integer or boolean for each example, or one float that is 0 or 1. Other targets are not checked.

    Args:
        extracts: Extracts of batches that have labels, an array or arrays by output.
        split: Name of the evaluation split.
        partial: These are only the first examples of the split, as many as all candidates ran on a device.
    """
    found = extracts | beam.Map(extremes) | beam.CombineGlobally(merged)
    return found | beam.Map(refuse_one_class, split=split, partial=partial)


def extremes(batch: Mapping[str, Any]) -> dict[str, Extremes]:
    """Output -> extremes of its targets in a batch; "" for the only output. Outputs without classes are absent."""
    labels = batch.get(tfma.LABELS_KEY)
    named: Mapping[str, Any] = labels if isinstance(labels, Mapping) else {"": labels}
    return {
        name: Extremes(values.min().item(), values.max().item(), len(values))
        for name, each in named.items()
        if each is not None and _are_classes(values := np.asarray(each))
    }


def _are_classes(values: npt.NDArray[Any]) -> bool:
    if not values.size or values.size != len(values):
        return False
    return values.dtype.kind in "biu" or (values.dtype.kind == "f" and bool(np.isin(values, (0, 1)).all()))


def merged(parts: Iterable[Mapping[str, Extremes]]) -> dict[str, Extremes]:
    """The extremes of several batches. An output that is absent in one of them has no classes."""
    found = list(parts)
    names = set(found[0]).intersection(*found) if found else set()
    return {
        name: Extremes(
            min(part[name].least for part in found),
            max(part[name].greatest for part in found),
            sum(part[name].examples for part in found),
        )
        for name in names
    }


def refuse_one_class(found: Mapping[str, Extremes], split: str, partial: bool = False) -> None:
    """Raise a DataError if all of several examples have the same target."""
    for name, each in sorted(found.items()):
        if each.examples > 1 and each.least == each.greatest:
            output = f" of the output {name!r}" if name else ""
            those = (
                f"the first {each.examples:,} examples of the evaluation split {split!r}, the only ones that every "
                "candidate ran under the device's runtime, all"
                if partial
                else f"all examples of the evaluation split {split!r}"
            )
            raise DataError(
                f"{those} have the same class, so metrics{output} say nothing about the others",
                where="the device profile's evaluators" if partial else "evaluate.split",
                bound="examples of at least two classes",
                measured=f"the target {each.least:g} in {each.examples:,} examples",
                remedy="shuffle the examples of the split, or raise `examples` (or `seconds`, if the time ran out) of "
                "the evaluator in the device profile"
                if partial
                else "evaluate a split that has all classes, or shuffle the examples before you split them",
            )
