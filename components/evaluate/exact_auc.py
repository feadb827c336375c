"""A TFMA metric for the exact area under the ROC curve. It keeps all scores; TFMA's own metric counts by threshold."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.metrics.ranks import macro_auc


class Scores(NamedTuple):
    """Labels, scores, and weights of some examples, 8 bytes each.

    Attributes:
        labels, scores: Values of all examples, concatenated.
        weights: A weight for each group of `outputs` scores; empty if all have the same weight.
        outputs: Number of the model's outputs.
    """

    labels: array[float]
    scores: array[float]
    weights: array[float]
    outputs: int


class ExactAUC(metric_types.Metric):
    """AUC by ranks, the mean over classes or outputs (`components.metrics.ranks.macro_auc`)."""

    def __init__(self, name: str = "auc", curve: str = "ROC") -> None:
        """Accept the TFMA arguments of metrics for which `is_exact_auc` is true."""
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name, curve=curve)


def _computations(
    name: str,
    eval_config: Any = None,
    model_name: str = "",
    output_name: str = "",
    curve: str = "ROC",
    example_weighted: bool = False,
) -> list[Any]:
    del curve
    key = metric_types.MetricKey(
        name=name, model_name=model_name, output_name=output_name, example_weighted=example_weighted
    )
    return [metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=_KeepScores(key, eval_config))]


class _KeepScores(beam.CombineFn):
    def __init__(self, key: Any, eval_config: Any) -> None:
        self._key, self._eval_config = key, eval_config

    def create_accumulator(self) -> Scores:
        return Scores(array("d"), array("d"), array("d"), 1)

    def add_input(self, accumulator: Scores, element: Any) -> Scores:
        outputs = accumulator.outputs
        for label, score, weight in metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self._eval_config,
            model_name=self._key.model_name,
            output_name=self._key.output_name,
            example_weighted=bool(self._key.example_weighted),
            flatten=False,
            squeeze=False,
        ):
            outputs = score.shape[-1]
            if label.size not in {score.size, score.size // outputs}:
                # Raises the error for a wrong number of labels. Over all examples, a wrong number could look right.
                macro_auc(label[None], score[None])
            accumulator.labels.extend(np.ravel(label).astype(np.float64).tolist())
            accumulator.scores.extend(np.ravel(score).astype(np.float64).tolist())
            if self._key.example_weighted:
                accumulator.weights.extend([float(weight.item())] * (score.size // outputs))
        return accumulator._replace(outputs=outputs)

    def merge_accumulators(self, accumulators: Iterable[Scores]) -> Scores:
        merged = self.create_accumulator()
        for each in accumulators:
            merged.labels.extend(each.labels)
            merged.scores.extend(each.scores)
            merged.weights.extend(each.weights)
            merged = merged._replace(outputs=max(merged.outputs, each.outputs))
        return merged

    def extract_output(self, accumulator: Scores) -> dict[Any, float]:
        labels, scores, weights = (np.frombuffer(each, np.float64) for each in accumulator[:3])
        scores = scores.reshape(-1, accumulator.outputs)
        return {self._key: macro_auc(labels, scores, weights if self._key.example_weighted else None)}
