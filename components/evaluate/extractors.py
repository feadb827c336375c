"""Extracts what TFMA needs from each example (features, targets, and all models' predictions) in one pass.

The stock extractors aren't suitable: they cannot mix SavedModel and TFLite in one run, and the TFLite extractor
truncates and wraps quantized inputs, fills missing features with -1, and runs a Python loop over examples.
"""

from __future__ import annotations

import functools
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.utils import model_util

from components.core.errors import DataError
from components.data.examples import ExampleDecoder, serialized_batches
from components.data.supervision import postprocessed
from components.data.task import load_task
from components.evaluate.function_metric import FUNCTIONS_KEY, FunctionValues
from components.evaluate.groups import BUCKETS, group_numbers
from components.evaluate.jackknife import BUCKET_KEY
from components.evaluate.outputs.observed import Observed
from components.evaluate.saturation import Counts, Saturation
from components.evaluate.stored_outputs import StoredOutputs
from components.metrics.metric_outputs import target_of
from components.metrics.model_outputs import Activation, as_probabilities
from components.model.reference.float_model import load_float
from components.model.tflite_runtime import TFLiteModel
from components.ranges.unequal import ranges_along_axes
from components.upstream.tfma import loaded_models

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
# Model inputs by name, arrays [N, ...] -> outputs by name, arrays [N, ...].
Predict = Callable[[Mapping[str, Array]], dict[str, Array]]
Extracts = dict[str, Any]

# Not one of TFMA's model types, so that TFMA never tries to load or run these models itself.
MODEL_TYPE = "edgemill"
# Main and side output of the prediction stage: extracts, and what was observed of the models' outputs.
EXTRACTS, OBSERVED = "extracts", "observed"
# How many of the `BUCKETS` are used to look inside a model, which costs another run of it.
INSIDE_BUCKETS = BUCKETS // 5


def load_baseline(path: str) -> Predict:
    """Load the float model in the serving folder of a baseline.

    Raises:
        ModelError: It cannot be loaded.
    """
    return load_float(Path(path)).run


class TFLitePredict:
    """Predicts with a TFLite file, and counts saturated values.

    Raises:
        ModelError: The runtime rejects it.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self._model = content, TFLiteModel(content)

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Predict."""
        return self._model.predict(inputs)

    @functools.cached_property
    def _saturation(self) -> Saturation:
        return Saturation(self._content, self._model)

    def saturated(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], buckets: Array) -> Counts:
        """Count saturated outputs of all examples, and saturated inner values of examples in the first buckets."""
        counts = self._saturation.outputs(outputs)
        chosen = buckets < INSIDE_BUCKETS
        if not self._saturation.looks_inside or not chosen.any():
            return counts
        return counts | self._saturation.inside({name: values[chosen] for name, values in inputs.items()})


def load_tflite(path: str, read: Callable[[], bytes] | None = None) -> TFLitePredict:
    """Load a TFLite file.

    Args:
        path: The file's path.
        read: Returns the file's content, and may verify its digest; None reads the path.

    Raises:
        ModelError: The runtime rejects it.
    """
    return TFLitePredict(Path(path).read_bytes() if read is None else read())


def shared_model(
    name: str, path: str, load: Callable[[str], Predict | StoredOutputs], is_baseline: bool = False
) -> Any:
    """Create a model for TFMA that every worker loads once from its path."""
    return tfma.types.EvalSharedModel(
        model_path=path,
        model_name=name,
        model_type=MODEL_TYPE,
        is_baseline=is_baseline,
        model_loader=tfma.types.ModelLoader(construct_fn=functools.partial(load, path)),
    )


def read_batches(file: str, batch_size: int) -> Iterator[Extracts]:
    """Yield batches of serialized tf.Examples from one gzipped TFRecord file, as TFMA extracts.

    Raises:
        DataError: The file is truncated or damaged.
    """
    for batch in serialized_batches([file], batch_size):
        yield {tfma.INPUT_KEY: batch}


class _DecodeAndPredict(model_util.DoFnWithModels):
    """Extracts with INPUT_KEY -> extracts with features, labels, example weights, predictions, and BUCKET_KEY.

    TFMA's BatchReducible variant isn't used because after an error, it runs the batch again example by example.
    """

    def __init__(
        self,
        models: Mapping[str, Any],
        task: str,
        transform_graph: str | None,
        label: str,
        features: Sequence[str],
        outputs: Sequence[str],
        applied: Mapping[str, tuple[Activation, npt.DTypeLike]],
        functions: FunctionValues,
        group_by: str | None,
    ) -> None:
        super().__init__({name: model.model_loader for name, model in models.items()})
        self._task, self._transform_graph, self._label = task, transform_graph, label
        self._features, self._outputs, self._applied = tuple(features), tuple(outputs), dict(applied)
        self._functions, self._group_by = functions, group_by

    def setup(self) -> None:
        """Load the models and the task, once per worker."""
        super().setup()
        self._decoder = ExampleDecoder(self._task, self._transform_graph)
        self._loaded_task = load_task(self._task)

    def process(self, element: Extracts) -> Iterable[Any]:
        """Decode one batch once, for all models."""
        decoded = self._decoder.decode_all(element[tfma.INPUT_KEY], self._label)
        inputs = decoded.inputs
        for name, values in inputs.items():
            if values.dtype.kind == "f" and np.isnan(values).any():
                raise DataError(
                    f"{int(np.isnan(values).sum())} decoded values are NaN",
                    where=f"model input {name!r}",
                    remedy="remove or repair these examples, or replace NaN in the task's decode()",
                )
        # An example's bucket depends only on its bytes.
        buckets = np.array([zlib.crc32(example) % BUCKETS for example in element[tfma.INPUT_KEY]])
        predictions, kept, observed = {}, {}, Observed()
        for name, predict in loaded_models(self).items():
            stored = isinstance(predict, StoredOutputs)
            outputs = predict.of(element[tfma.INPUT_KEY]) if stored else predict(inputs)
            if stored:
                pass  # The evaluation of the desktop's outputs observes the same file.
            elif isinstance(predict, TFLitePredict):
                observed.counts[name] = predict.saturated(inputs, outputs, buckets)
            else:
                observed.ranges.update({output: ranges_along_axes(values) for output, values in outputs.items()})
            if len(self._outputs) == len(outputs) == 1:
                # A file without a signature has other names.
                outputs = dict(zip(self._outputs, outputs.values(), strict=True))
            final = postprocessed(self._loaded_task, outputs)
            if self._applied:
                predictions[name] = _whole(
                    {
                        output: as_probabilities(activation, final[output], dtype)
                        for output, (activation, dtype) in self._applied.items()
                    }
                )
            kept[name] = self._functions.of(final, decoded.targets, decoded.features, decoded.weights)
        count = len(element[tfma.INPUT_KEY])
        logger.info("%d examples predicted by %d models", count, len(kept))
        read = {tfma.PREDICTIONS_KEY: predictions}
        read[tfma.LABELS_KEY] = {output: target_of(decoded.targets, output) for output in self._applied}
        yield {
            tfma.FEATURES_KEY: {name: decoded.features[name] for name in self._features},
            tfma.EXAMPLE_WEIGHTS_KEY: np.ones(count) if decoded.weights is None else decoded.weights,
            BUCKET_KEY: buckets
            if self._group_by is None
            else np.array(group_numbers(decoded.features[self._group_by]), np.int64),
            FUNCTIONS_KEY: {
                metric: {name: of_model[metric] for name, of_model in kept.items()}
                for metric in next(iter(kept.values()))
            },
            **{key: _whole(values) for key, values in read.items() if values},
        }
        yield beam.pvalue.TaggedOutput(OBSERVED, observed)


def _whole(named: Mapping[str, Any]) -> Any:
    """By TFMA's rule, values of a single model aren't keyed by its name, nor those of a single output."""
    return named if len(named) > 1 else next(iter(named.values()))


@beam.ptransform_fn
def _Predict(extracts: Any, predict: _DecodeAndPredict) -> Any:
    return extracts | beam.ParDo(predict).with_outputs(OBSERVED, main=EXTRACTS)


def PredictExtractor(
    models: Sequence[Any],
    task: str,
    transform_graph: str | None,
    label: str,
    features: Sequence[str],
    outputs: Sequence[str],
    applied: Mapping[str, tuple[Activation, npt.DTypeLike]],
    functions: FunctionValues,
    group_by: str | None = None,
) -> tfma.extractors.Extractor:
    """Create an extractor from serialized examples to features, targets, weights, and all models' predictions.

    It has two results: `EXTRACTS`, and `OBSERVED` with an `Observed` for each batch.

    Args:
        models: Models from `shared_model`.
        task: Reference of the task, whose feature_spec() and decode() turn examples into model inputs.
        transform_graph: As for `ExampleDecoder`.
        label: The feature that is the target if the task declares no targets.
        features: The parsed features to keep, for slices.
        outputs: Names of the models' outputs. If there is only one, a file may name it differently.
        applied: Output that a metric reads -> the activation that turns its values into probabilities, and the type of
            these. If there is only one, predictions and labels are arrays, otherwise arrays by output.
        functions: Computes the metrics that are functions.
        group_by: The feature that names the group of an example; None if examples are independent.
    """
    named = {model.model_name: model for model in models}
    predict = _DecodeAndPredict(named, task, transform_graph, label, features, outputs, applied, functions, group_by)
    return tfma.extractors.Extractor(stage_name="DecodeAndPredict", ptransform=_Predict(predict))
