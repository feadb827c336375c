"""Samples of areas under the ROC curve, from accumulators that contain all scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from components.evaluate.exact_auc import Scores
from components.evaluate.outputs.units import Units, sample
from components.facts.sample import Sample
from components.metrics.ranks import area_terms


def area_sample(accumulator: Any, keys: npt.NDArray[np.int64], grouped: bool) -> Sample | None:
    """Return the sample of an area; None if it has none.

    Args:
        accumulator: `Scores`, or a list of `components.metrics.ready_made.values.Scored`, of N examples.
        keys: The units of the examples, [N].
        grouped: Whether units are groups of examples.
    """
    if isinstance(accumulator, Scores):
        labels, scores, given = (np.frombuffer(each, np.float64) for each in accumulator[:3])
        scores, weights = scores.reshape(-1, accumulator.outputs), given if len(given) else None
    else:
        labels, scores, weights = np.array(accumulator, np.float64).reshape(-1, 3).T
    # An example with several rows of scores is not a unit.
    terms = area_terms(labels, scores, weights) if len(scores) == len(keys) else None
    if terms is None:
        return None
    units = Units()
    units.add(keys, np.stack([terms.numerators, terms.denominators], axis=1))
    numerators, denominators = units.settle().sums.T
    largest: tuple[float, ...] = (float(denominators.max()),)
    if not (grouped or units.folded):
        kinds = (terms.denominators[terms.kinds == kind].max() for kind in range(terms.kinds.max() + 1))
        largest = (*largest, *sorted(map(float, kinds))[:-1])
    return sample(numerators, denominators, terms.least, terms.greatest, largest)
