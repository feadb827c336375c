"""Extracts what TFMA needs from each example (features, targets, and all models' stored predictions) in one pass.

The stock extractors aren't suitable: they cannot mix SavedModel and TFLite in one run, and the TFLite extractor
truncates and wraps quantized inputs, fills missing features with -1, and runs a Python loop over examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import tensorflow_model_analysis as tfma

from components.core.errors import DataError
from components.data.examples import ExampleDecoder
from components.data.records import serialized_tensors
from components.evaluate.function_metric import FUNCTIONS_KEY, FunctionValues
from components.evaluate.groups import group_numbers
from components.evaluate.outputs.units import UNIT_KEY
from components.evaluate.parts import BUCKET_KEY
from components.metrics.metric_outputs import target_of
from components.metrics.model_outputs import Activation, as_probabilities
from components.predict.digests import buckets_of, digests_of, unit_numbers
from components.predict.store import StoredPredictions
from components.ranges.affine import has_nan

Array = npt.NDArray[Any]
Extracts = dict[str, Any]

# Not one of TFMA's model types, so that TFMA never tries to load or run these models itself.
MODEL_TYPE = "edgemill"


class _Join(beam.DoFn):
    """(Number, path) of a file -> extracts of its batches: features, labels, weights, predictions, bucket, and unit."""

    def __init__(
        self,
        models: Mapping[str, StoredPredictions],
        task: str,
        transform_graph: str | None,
        label: str,
        features: Sequence[str],
        applied: Mapping[str, tuple[Activation, npt.DTypeLike]],
        functions: FunctionValues,
        group_by: str | None,
        batch_size: int,
    ) -> None:
        self._batch_size = batch_size
        self._models, self._task, self._transform_graph = dict(models), task, transform_graph
        self._label, self._features, self._applied = label, tuple(features), dict(applied)
        self._functions, self._group_by = functions, group_by
        self._read = {label, *features, *functions.features, *([] if group_by is None else [group_by])}

    def setup(self) -> None:
        """Load the task, once per worker."""
        self._decoder = ExampleDecoder(self._task, self._transform_graph)

    def process(self, element: tuple[int, str]) -> Iterator[Extracts]:
        """Read a file once, for all models."""
        number, path = element
        first = 0
        for records in serialized_tensors(path, self._batch_size):
            yield self._joined(number, first, records)
            first += len(records)

    def _joined(self, file: int, first: int, records: Any) -> Extracts:
        of_examples = self._decoder.supervision(records, self._label, self._read)
        examples = records.numpy()
        digests = digests_of(examples)
        predictions, kept = {}, {}
        for name, stored in self._models.items():
            final = stored.rows(file, first, digests)
            for output in self._applied:
                _refuse_nan(final[output], output, name)
            if self._applied:
                predictions[name] = _whole(
                    {
                        output: as_probabilities(activation, final[output], dtype)
                        for output, (activation, dtype) in self._applied.items()
                    }
                )
            kept[name] = self._functions.of(final, of_examples.targets, of_examples.features, of_examples.weights)
        read = {tfma.PREDICTIONS_KEY: predictions}
        read[tfma.LABELS_KEY] = {output: target_of(of_examples.targets, output) for output in self._applied}
        weights = of_examples.weights
        groups = None
        if self._group_by is not None:
            groups = np.array(group_numbers(of_examples.features[self._group_by]), np.int64)
        return {
            tfma.FEATURES_KEY: {name: of_examples.features[name] for name in self._features},
            tfma.EXAMPLE_WEIGHTS_KEY: np.ones(len(examples)) if weights is None else weights,
            BUCKET_KEY: buckets_of(examples) if groups is None else groups,
            UNIT_KEY: unit_numbers(digests) if groups is None else groups,
            FUNCTIONS_KEY: {
                metric: {name: of_model[metric] for name, of_model in kept.items()}
                for metric in next(iter(kept.values()))
            },
            **{key: _whole(values) for key, values in read.items() if values},
        }


def _refuse_nan(values: Array, output: str, model: str) -> None:
    """Refuse predictions that are NaN. Keras would treat them as the first class, or as a low score."""
    if values.dtype.kind == "f" and has_nan(values):
        raise DataError(
            f"{int(np.isnan(values).sum())} of {values.size} predictions are NaN",
            where=f"output {output!r} of {model or 'the baseline'}",
            bound="numbers",
            remedy="find the layer in which the model computes NaN (float16 overflows above 65,504), or correct "
            "postprocess; to evaluate the other recipes, remove this one",
        )


def _whole(named: Mapping[str, Any]) -> Any:
    """By TFMA's rule, neither the values of a single model nor those of a single output are keyed by name."""
    return named if len(named) > 1 else next(iter(named.values()))


def JoinExtractor(
    models: Mapping[str, StoredPredictions],
    task: str,
    transform_graph: str | None,
    label: str,
    features: Sequence[str],
    applied: Mapping[str, tuple[Activation, npt.DTypeLike]],
    functions: FunctionValues,
    group_by: str | None,
    batch_size: int,
) -> tfma.extractors.Extractor:
    """Create an extractor from (number, path) of files to features, targets, weights, and all models' predictions.

    Args:
        models: Name -> predictions for the files of the split.
        task: Reference of the task, whose feature_spec() and targets() define what outputs are compared with.
        transform_graph: As for `ExampleDecoder`.
        label: The feature that is the target if the task declares no targets.
        features: The parsed features to keep, for slices.
        applied: Output that a metric reads -> the activation that turns its values into probabilities, and the type of
            the probabilities. If there is only one, predictions and labels are arrays, otherwise arrays by output.
        functions: Computes the metrics that are functions.
        group_by: The feature that names the group of an example; None if examples are independent.
        batch_size: Examples in a batch.
    """
    step = _Join(models, task, transform_graph, label, features, applied, functions, group_by, batch_size)
    return tfma.extractors.Extractor(stage_name="JoinPredictions", ptransform=beam.ParDo(step))
