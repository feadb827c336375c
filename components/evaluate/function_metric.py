"""TFMA metrics that are functions: computed once per batch and model for each example, then combined per slice."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.data.supervision import ONLY
from components.metrics.accumulator import Arrays
from components.metrics.functions import Computed, load_metric, only_of
from components.spec.metric import MetricSpec

Array = npt.NDArray[Any]

# Extracts key of metric -> model -> the metric's accumulators of the examples, objects [N].
FUNCTIONS_KEY = "function_metrics"
# Key of the accumulators in the input of the metric's combiner.
KEPT = "kept"


class FunctionValues:
    """Computes the accumulators of examples for metrics that are functions. Loads them at first use, once per worker.

    Attributes:
        features: The features that they read.
    """

    def __init__(self, metrics: Sequence[MetricSpec], label: str) -> None:
        self._metrics, self._label = tuple(metric for metric in metrics if metric.function), label
        self.features = frozenset(name for metric in self._metrics for name in metric.features)

    @functools.cached_property
    def _loaded(self) -> list[Computed]:
        return [load_metric(metric) for metric in self._metrics]

    def of(
        self, outputs: Arrays, targets: Arrays, features: Arrays, weights: Array | None
    ) -> dict[str, npt.NDArray[np.object_]]:
        """Return the accumulators of N examples by metric, [N].

        Args:
            outputs: Output name -> values [N, ...] of one model, after the task's `postprocess`.
            targets: Output name -> values [N, ...]; `ONLY` names the label of a task without targets.
            features: Name -> dense features [N, ...].
            weights: Weights of the examples [N]; None if all have the same weight.
        """
        targets = named_targets(outputs, targets, self._label)
        kept = {}
        for metric, computed in zip(self._metrics, self._loaded, strict=True):
            values = computed.examples(
                only_of(outputs, metric.output),
                only_of(targets, metric.output),
                {name: features[name] for name in metric.features},
                weights,
            )
            kept[metric.name] = column = np.empty(len(values), object)
            for row, value in enumerate(values):
                column[row] = value
        return kept


def named_targets(outputs: Arrays, targets: Arrays, label: str) -> Arrays:
    """Targets by output. If the task has none, the label has the name of the only output, or its own name."""
    if ONLY not in targets:
        return targets
    return {next(iter(outputs)) if len(outputs) == 1 else label: targets[ONLY]}


class FunctionMetric(metric_types.Metric):
    """A metric that is a function (`components.metrics.functions`)."""

    def __init__(self, name: str, spec: str) -> None:
        """Accept the metric's name, and its `MetricSpec` as JSON."""
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name, spec=spec)


def _computations(
    name: str,
    eval_config: Any = None,
    model_name: str = "",
    output_name: str = "",
    spec: str = "",
    example_weighted: bool = False,
) -> list[Any]:
    # Values are already weighted.
    del eval_config, output_name, example_weighted
    key = metric_types.MetricKey(name=name, model_name=model_name)
    return [metric_types.MetricComputation(keys=[key], preprocessors=[Take(key)], combiner=_Combine(key, spec))]


class Take(metric_types.Preprocessor):
    """Selects one metric's accumulator of an example, before the example is copied to its slices."""

    def __init__(self, key: Any) -> None:
        super().__init__(name=f"take {key.name} of {key.model_name}")
        self.key = key

    def process(self, extracts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Select it from the extracts of one example."""
        yield {KEPT: extracts[FUNCTIONS_KEY][self.key.name][self.key.model_name].item()}


class _Combine(beam.CombineFn):
    def __init__(self, key: Any, spec: str) -> None:
        self._key, self._spec = key, spec

    @functools.cached_property
    def _computed(self) -> Computed:
        return load_metric(MetricSpec.model_validate_json(self._spec))

    def create_accumulator(self) -> Any:
        return self._computed.create()

    def add_input(self, accumulator: Any, element: Mapping[str, Any]) -> Any:
        return self._computed.merge(accumulator, element[KEPT])

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        return functools.reduce(self._computed.merge, accumulators, self._computed.create())

    def extract_output(self, accumulator: Any) -> dict[Any, float]:
        return {self._key: self._computed.result(accumulator)}
