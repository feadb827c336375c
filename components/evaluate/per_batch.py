"""Adds up the examples of a batch by slice and part before TFMA's combine, which otherwise handles single examples.

It serves means and functions, whose values are computed per batch anyway. Splitting a batch into examples costs far
more than computing these values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import tensorflow_model_analysis as tfma
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from components.evaluate import groups
from components.evaluate.function_metric import FUNCTIONS_KEY, KEPT, Take
from components.evaluate.means import MEANS_KEY
from components.evaluate.outputs.units import TERMS_KEY, UNIT_KEY, Units
from components.evaluate.parts import BUCKET_KEY, Buckets, Part
from components.evaluate.slicing import Slicer
from components.predict.digests import BUCKETS

Array = npt.NDArray[Any]


class AddUp(beam.DoFn):
    """Extracts of a batch -> (slice, parts of its examples) for each slice.

    Args:
        slicing: TFMA's slicing specs.
        computations: Computations of metrics that are functions.
        grouped: Whether examples belong to groups.
        ranked: Whether a metric needs the units of the examples in its accumulators.
    """

    def __init__(self, slicing: Sequence[Any], computations: Sequence[Any], grouped: bool, ranked: bool) -> None:
        self._slicing, self._computations, self._grouped = list(slicing), list(computations), grouped
        self._ranked = ranked

    def start_bundle(self) -> None:
        """Start over."""
        self._slicer = Slicer(self._slicing)
        self._sizes, self._sums = np.zeros(0, np.int64), np.zeros((0, 0))
        self._units: list[Units] = []

    def process(self, element: Mapping[str, Any]) -> Iterator[tuple[Any, Buckets]]:
        """Add up one batch. Parts that are only sums are kept until the end of the bundle."""
        values, numbers = element[MEANS_KEY], element[BUCKET_KEY]
        keys, terms = element[UNIT_KEY], element[TERMS_KEY]
        if not (self._computations or self._grouped):
            slices, examples = self._slicer.members(element[tfma.FEATURES_KEY], len(values))
            self._add(values, numbers, slices, examples)
            self._units += [Units() for _ in self._slicer.keys[len(self._units) :]]
            for index in np.unique(slices).tolist():
                rows = examples[slices == index]
                self._units[index].add(keys[rows], terms[rows])
            return
        kept = [element[FUNCTIONS_KEY][take.key.name][take.key.model_name] for take in map(_take, self._computations)]
        for key, rows in self._slicer.rows(element[tfma.FEATURES_KEY], len(values)):
            units = Units()
            units.add(keys[rows], terms[rows])
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
                        None if index else units,
                        (keys[order[starts[index] : starts[index] + sizes[index]]],) if self._ranked else (),
                    )
                    for index, number in enumerate(found)
                },
            )

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Yield the parts that were kept until now."""
        window = GlobalWindow()
        for number, units in enumerate(self._units):
            cells = range(number * BUCKETS, (number + 1) * BUCKETS)
            parts = {
                bucket: Part(int(self._sizes[cell]), self._sums[cell], [])
                for bucket, cell in enumerate(cells)
                if self._sizes[cell]
            }
            first = min(parts)
            parts[first] = parts[first]._replace(units=units.settle())
            yield WindowedValue((self._slicer.keys[number], parts), window.max_timestamp(), [window])

    def _add(self, values: Array, buckets: Array, slices: Array, examples: Array) -> None:
        """Add the values [N, columns] of examples in `buckets` [N], by slice as `Slicer.members` returns them."""
        cells, places = np.unique(slices * BUCKETS + buckets[examples], return_inverse=True)
        missing = len(self._slicer.keys) * BUCKETS - len(self._sizes)
        if missing:
            self._sizes = np.pad(self._sizes, (0, missing))
            self._sums = np.vstack([self._sums.reshape(-1, values.shape[1]), np.zeros((missing, values.shape[1]))])
        self._sizes[cells] += np.bincount(places)
        for column, of_column in enumerate(values.T):
            self._sums[cells, column] += np.bincount(places, of_column[examples])

    @staticmethod
    def _accumulated(computation: Any, values: Array) -> Any:
        accumulator = computation.combiner.create_accumulator()
        for value in values:
            accumulator = computation.combiner.add_input(accumulator, {KEPT: value})
        return accumulator


def _take(computation: Any) -> Take:
    (take,) = computation.preprocessors
    return take
