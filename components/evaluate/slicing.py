"""Slices of a batch of examples, found for all examples of a batch together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tensorflow_model_analysis.slicer import slicer_lib

Array = npt.NDArray[Any]


class Slicer:
    """Finds the slices of examples by TFMA's rules, once for all examples with the same values.

    Args:
        slicing: TFMA's slicing specs.

    Attributes:
        keys: TFMA's keys of the slices that were found.
    """

    def __init__(self, slicing: Sequence[Any]) -> None:
        self.keys: list[Any] = []
        self._read = sorted({name for spec in slicing for name in spec.feature_keys})
        self._specs = [slicer_lib.SingleSliceSpec(spec=spec) for spec in slicing]
        self._numbers: dict[Any, int] = {}
        # Values of the features that slices read -> the numbers of the slices.
        self._known: dict[Any, list[int]] = {}

    def members(self, features: Mapping[str, Array], count: int) -> tuple[Array, Array]:
        """Find the slices of a batch.

        Args:
            features: Name -> values [N, ...] of the features that slices read, and possibly others.
            count: N.

        Returns:
            Numbers of slices, which are their positions in `keys`, and numbers of examples in these slices, both [M].
            An example occurs once for each of its slices. Examples are in ascending order.
        """
        alike = np.zeros(count, np.int64)
        for name in self._read:
            codes, kinds = _codes(features[name].reshape(count, -1))
            alike = alike * kinds + codes
        _, firsts, alike = np.unique(alike, return_index=True, return_inverse=True)
        slices = [self._of_one(features, row) for row in firsts.tolist()]
        table = np.full((len(slices), max(map(len, slices), default=0)), -1, np.int64)
        for row, numbers in enumerate(slices):
            table[row, : len(numbers)] = numbers
        of_each = table[alike]
        held = of_each >= 0
        return of_each[held], np.nonzero(held)[0]

    def rows(self, features: Mapping[str, Array], count: int) -> Iterator[tuple[Any, Array]]:
        """Yield the key of each slice of a batch, with its examples in ascending order. Arguments as for `members`."""
        slices, examples = self.members(features, count)
        for number in np.unique(slices).tolist():
            yield self.keys[number], examples[slices == number]

    def _of_one(self, features: Mapping[str, Array], row: int) -> list[int]:
        values = {name: features[name][row : row + 1].reshape(-1) for name in self._read}
        known = tuple(tuple(each.tolist()) for each in values.values())
        if known not in self._known:
            found = dict.fromkeys(slicer_lib.get_slices_for_features_dicts([], values, self._specs))
            for key in found:
                if key not in self._numbers:
                    self._numbers[key] = len(self.keys)
                    self.keys.append(key)
            self._known[known] = [self._numbers[key] for key in found]
        return self._known[known]


def _codes(values: Array) -> tuple[Array, int]:
    """Number the distinct rows of values [N, K]. Returns the numbers [N], and how many distinct rows there are."""
    if values.shape[1] != 1:
        rows = np.empty(len(values), object)
        rows[:] = list(map(tuple, values.tolist()))
    codes, found = pd.factorize(values[:, 0] if values.shape[1] == 1 else rows, use_na_sentinel=False)
    return codes, max(len(found), 1)
