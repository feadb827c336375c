"""Adds up the examples of a batch by slice and part before TFMA's combine, which otherwise handles single examples.

It serves means and functions, whose values are computed per batch anyway. Splitting a batch into examples costs far
more than computing these values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.slicer import slicer_lib

from components.evaluate import groups
from components.evaluate.function_metric import FUNCTIONS_KEY, KEPT, Take
from components.evaluate.means import MEANS_KEY
from components.evaluate.parts import BUCKET_KEY, Buckets, Part

Array = npt.NDArray[Any]
Slices = list[tuple[Any, Array]]


class AddUp(beam.DoFn):
    """Extracts of a batch -> (slice, parts of its examples) for each slice.

    Args:
        slicing: TFMA's slicing specs.
        computations: Computations of metrics that are functions.
        grouped: Whether examples belong to groups.
    """

    def __init__(self, slicing: Sequence[Any], computations: Sequence[Any], grouped: bool) -> None:
        self._slicing, self._computations, self._grouped = list(slicing), list(computations), grouped

    def process(self, element: Mapping[str, Any]) -> Iterator[tuple[Any, Buckets]]:
        """Add up one batch."""
        values, numbers = element[MEANS_KEY], element[BUCKET_KEY]
        kept = [element[FUNCTIONS_KEY][take.key.name][take.key.model_name] for take in map(_take, self._computations)]
        for key, rows in slices_of(element[tfma.FEATURES_KEY], len(values), self._slicing):
            order = rows[np.argsort(numbers[rows], kind="stable")]
            found, starts = np.unique(numbers[order], return_index=True)
            sums = np.add.reduceat(values[order], starts, axis=0)
            sizes = np.diff([*starts, len(order)])
            yield (
                key,
                {
                    int(number): Part(
                        int(sizes[index]),
                        sums[index],
                        [
                            self._accumulated(computation, column[order[starts[index] : starts[index] + sizes[index]]])
                            for computation, column in zip(self._computations, kept, strict=True)
                        ],
                        groups.bit(int(number)) if self._grouped else 0,
                    )
                    for index, number in enumerate(found)
                },
            )

    @staticmethod
    def _accumulated(computation: Any, values: Array) -> Any:
        accumulator = computation.combiner.create_accumulator()
        for value in values:
            accumulator = computation.combiner.add_input(accumulator, {KEPT: value})
        return accumulator


def _take(computation: Any) -> Take:
    (take,) = computation.preprocessors
    return take


def slices_of(features: Mapping[str, Array], count: int, slicing: Sequence[Any]) -> Slices:
    """TFMA's slice keys of a batch, each with the rows of its examples in ascending order.

    Args:
        features: Name -> values [N, ...] of the features that slices read, and possibly others.
        count: N.
        slicing: TFMA's slicing specs.
    """
    read = sorted({name for spec in slicing for name in spec.feature_keys})
    columns = [features[name].reshape(count, -1).tolist() for name in read]
    alike: dict[Any, list[int]] = defaultdict(list)
    for row, held in enumerate(zip(*(map(tuple, column) for column in columns), strict=True)):
        alike[held].append(row)
    if not read:
        alike[()] = list(range(count))
    specs = [slicer_lib.SingleSliceSpec(spec=spec) for spec in slicing]
    rows: dict[Any, list[list[int]]] = defaultdict(list)
    for those in alike.values():
        of_one = {name: features[name][those[0] : those[0] + 1].reshape(-1) for name in read}
        for key in set(slicer_lib.get_slices_for_features_dicts([], of_one, specs)):
            rows[key].append(those)
    return [(key, np.sort(np.concatenate(parts))) for key, parts in rows.items()]
