"""The exact area under the ROC curve as a metric of TFMA: it keeps the scores, where TFMA's own counts thresholds."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.errors import SpecError
from components.evaluate.means import check_classes
from components.ranks import exact_auc

# Labels and scores, 16 bytes per example.
Scores = tuple["array[float]", "array[float]"]


class ExactAUC(metric_types.Metric):
    """AUC by ranks. Several outputs are pooled, as TFMA does: the micro average of scikit-learn."""

    def __init__(self, name: str = "auc", curve: str = "ROC") -> None:
        """Take TFMA's arguments of the metrics that `is_exact_auc` holds for."""
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name, curve=curve)


def _computations(
    name: str, eval_config: Any = None, model_name: str = "", output_name: str = "", curve: str = "ROC"
) -> list[Any]:
    del curve
    key = metric_types.MetricKey(name=name, model_name=model_name, output_name=output_name)
    return [
        metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=_KeepScores(key, eval_config)),
    ]


class _KeepScores(beam.CombineFn):
    def __init__(self, key: Any, eval_config: Any) -> None:
        self._key, self._eval_config = key, eval_config

    def create_accumulator(self) -> Scores:
        return array("d"), array("d")

    def add_input(self, accumulator: Scores, element: Any) -> Scores:
        for label, score, _ in metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self._eval_config,
            model_name=self._key.model_name,
            output_name=self._key.output_name,
            flatten=False,
            squeeze=False,
        ):
            for into, values in zip(accumulator, _pairs(label, score), strict=True):
                into.extend(values)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Scores]) -> Scores:
        merged = self.create_accumulator()
        for labels, scores in accumulators:
            merged[0].extend(labels)
            merged[1].extend(scores)
        return merged

    def extract_output(self, accumulator: Scores) -> dict[Any, float]:
        labels, scores = (np.frombuffer(each, np.float64) for each in accumulator)
        return {self._key: exact_auc(labels, scores)}


def _pairs(label: Any, score: Any) -> tuple[list[float], list[float]]:
    """One example's labels, each 0 or 1, and the scores to rank them by."""
    labels, scores = np.ravel(label).astype(np.float64), np.ravel(score).astype(np.float64)
    if len(labels) == len(scores):
        return labels.tolist(), scores.tolist()
    if len(labels) != 1:
        raise SpecError(
            "the metric `auc` compares a class number with an output for each class, or each output with a label",
            where="evaluate.metrics",
            bound=f"1 or {len(scores)} labels per example",
            measured=len(labels),
            remedy="correct the label, or give the model an output for each",
        )
    check_classes(labels, len(scores))
    if len(scores) == 2:
        # A softmax over two classes is a binary model: the second output is the score of the positives.
        return labels.tolist(), scores[1:].tolist()
    return [float(each == labels[0]) for each in range(len(scores))], scores.tolist()
