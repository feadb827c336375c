"""Metrics of values: the ranks of anomaly scores, and distances of keypoints."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.core.errors import SpecError
from components.metrics.accumulator import Arrays, KeptExamples, RatioOfSums
from components.metrics.ranks import exact_auc
from components.metrics.ready_made.read import mask_of, named_array, only

Array = npt.NDArray[Any]


class Scored(NamedTuple):
    """An example: its label of 0 or 1, its score, and how often it counts."""

    label: float
    score: float
    weight: float = 1.0


class AnomalyAUC(KeptExamples):
    """The probability that an anomaly has a higher score than a normal example. A tie counts half.

    Predictions are scores [N] or [N, 1], or reconstructions [N, ...]. Targets are [N]: 1 for an anomaly, 0 otherwise.

    Args:
        reconstructs: A feature [N, ...] that the model reconstructs: then the score is the mean squared error of the
            output. "" if the output is the score.
        labels: A feature [N] with the labels, instead of the target: a model that is trained to reconstruct has its
            input as target. "" for the target.
    """

    def __init__(self, reconstructs: str = "", labels: str = "") -> None:
        self._reconstructs, self._labels = reconstructs, labels

    def examples(self, predictions: Arrays, targets: Arrays, features: Arrays) -> list[Any]:
        """Keep the label and the score of each example."""
        found = only(predictions, "output")
        labels = named_array(features, self._labels, "feature") if self._labels else only(targets, "target")
        values = found.astype(np.float64).reshape(len(found), -1)
        if self._reconstructs:
            original = named_array(features, self._reconstructs, "feature")
            _check_size(original.size, values.size, f"the feature {self._reconstructs!r}", original, found)
            values = ((values - original.reshape(values.shape)) ** 2).mean(axis=1)
        else:
            _check_size(values.size, len(found), "the output", found, labels)
        what = f"the feature {self._labels!r}" if self._labels else "the target"
        _check_size(labels.size, len(found), what, labels, found)
        labels = labels.astype(np.float64)
        pairs = zip(labels.reshape(-1).tolist(), values.reshape(-1).tolist(), strict=True)
        return [[Scored(label, score)] for label, score in pairs]

    def result(self, accumulator: list[Scored]) -> float:
        """Return the area; NaN without anomalies or without normal examples."""
        labels, scores, weights = np.array(accumulator, np.float64).reshape(-1, 3).T
        return exact_auc(labels, scores, weights)


def _check_size(found: int, expected: int, what: str, values: Array, others: Array) -> None:
    if found != expected:
        raise SpecError(
            f"this metric ranks one score per example, but {what} has a different number of values",
            where="evaluate.metrics",
            bound=f"{expected} values",
            measured=f"{found}, of shapes {list(values.shape)} and {list(others.shape)}",
            remedy="return the score from postprocess(), or set `reconstructs` to the feature that is reconstructed",
        )


class KeypointError(RatioOfSums):
    """The mean Euclidean distance between predicted and actual keypoints, in the unit of the coordinates.

    Predictions and targets are coordinates [N, K, dimensions], or flattened [N, K * dimensions].

    Args:
        dimensions: Number of coordinates of a keypoint.
        mask: A feature [N, K]; keypoints with the value 0 are left out. "" for none.
    """

    def __init__(self, dimensions: int = 2, mask: str = "") -> None:
        self._dimensions, self._mask = dimensions, mask

    def sums(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Array:
        """Return the sum of distances and the number of counted keypoints of each example."""
        found, wanted = only(predictions, "output"), only(targets, "target")
        if found.size != wanted.size or found[:1].size % self._dimensions:
            raise SpecError(
                "this metric compares keypoints",
                where="evaluate.metrics",
                bound=f"outputs and targets [N, K, {self._dimensions}] or [N, K * {self._dimensions}]",
                measured=f"outputs {list(found.shape)}, targets {list(wanted.shape)}",
                remedy="correct the targets, or `dimensions` in the metric's config",
            )
        found, wanted = (each.astype(np.float64).reshape(len(found), -1, self._dimensions) for each in (found, wanted))
        counted = mask_of(features, self._mask, found.shape[:2])
        # Masked values may be NaN.
        distances = np.sqrt(((found - wanted) ** 2).sum(axis=-1), where=counted, out=np.zeros(counted.shape))
        return np.stack([distances.sum(axis=1), counted.sum(axis=1)], axis=1)
