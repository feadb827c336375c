"""Extracts what TFMA needs from each example (features, label, and all models' predictions) in one pass.

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
from components.evaluate.jackknife import BUCKET_KEY, BUCKETS
from components.evaluate.saturation import Counts, Saturation
from components.metrics.model_outputs import Activation, as_probabilities
from components.model.saved_model import SIGNATURE, load_serving, only_output, run_serving
from components.model.tflite_runtime import TFLiteModel
from components.upstream.tfma import loaded_models

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
# Model inputs by name, arrays [N, ...] -> predictions [N, ...].
Predict = Callable[[Mapping[str, Array]], Array]
Extracts = dict[str, Any]

# Not one of TFMA's model types, so that TFMA never tries to load or run these models itself.
MODEL_TYPE = "edgemill"
# Main and side output of the prediction stage: extracts, and saturation counts per model.
EXTRACTS, SATURATED = "extracts", "saturated"
# How many of the `BUCKETS` are used to look inside a model, which costs another run of it.
INSIDE_BUCKETS = BUCKETS // 5


def load_saved_model(path: str) -> Predict:
    """Load the `serving_default` signature of a SavedModel.

    Raises:
        ModelError: The signature doesn't exist or has several outputs.
    """
    loaded, signature = load_serving(Path(path))
    output = only_output(tuple(signature.structured_outputs), "baseline")

    def predict(inputs: Mapping[str, Array]) -> Array:
        # Signatures hold only weak references to their variables, so keep the loaded model alive.
        return run_serving(loaded.signatures[SIGNATURE], inputs)[output]

    return predict


class TFLitePredict:
    """Predicts with a single-output TFLite file, which errors call `where`, and counts saturated values.

    Raises:
        ModelError: The runtime rejects it, or it has several outputs.
    """

    def __init__(self, content: bytes, where: str) -> None:
        self._content, self._model = content, TFLiteModel(content)
        self._output = only_output(self._model.output_names, where)

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        """Predict."""
        return self._model.predict(inputs)[self._output]

    @functools.cached_property
    def _saturation(self) -> Saturation:
        return Saturation(self._content, self._model)

    def saturated(self, inputs: Mapping[str, Array], outputs: Array, buckets: Array) -> Counts:
        """Count saturated outputs of all examples, and saturated inner values of examples in the first buckets."""
        counts = self._saturation.output(outputs)
        chosen = buckets < INSIDE_BUCKETS
        if not self._saturation.looks_inside or not chosen.any():
            return counts
        return counts | self._saturation.inside({name: values[chosen] for name, values in inputs.items()})


def load_tflite(path: str, read: Callable[[], bytes] | None = None) -> TFLitePredict:
    """Load a TFLite file with one output.

    Args:
        path: The file's path.
        read: Returns the file's content, and may verify its digest; None reads the path.

    Raises:
        ModelError: The runtime rejects it, or it has several outputs.
    """
    return TFLitePredict(Path(path).read_bytes() if read is None else read(), path)


def shared_model(name: str, path: str, load: Callable[[str], Predict], is_baseline: bool = False) -> Any:
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
    """Extracts with INPUT_KEY -> extracts with FEATURES_KEY, PREDICTIONS_KEY, and BUCKET_KEY.

    TFMA's BatchReducible variant isn't used because after an error, it runs the batch again example by example.
    """

    def __init__(
        self,
        models: Mapping[str, Any],
        task: str,
        transform_graph: str | None,
        features: Sequence[str],
        applied: Activation,
    ) -> None:
        super().__init__({name: model.model_loader for name, model in models.items()})
        self._task, self._transform_graph, self._features = task, transform_graph, tuple(features)
        self._applied = applied

    def setup(self) -> None:
        """Load the models and the task, once per worker."""
        super().setup()
        self._decoder = ExampleDecoder(self._task, self._transform_graph)

    def process(self, element: Extracts) -> Iterable[Any]:
        """Decode one batch once, for all models."""
        inputs, features = self._decoder.decode(element[tfma.INPUT_KEY])
        for name, values in inputs.items():
            if values.dtype.kind == "f" and np.isnan(values).any():
                raise DataError(
                    f"{int(np.isnan(values).sum())} decoded values are NaN",
                    where=f"model input {name!r}",
                    remedy="remove or repair these examples, or replace NaN in the task's decode()",
                )
        # An example's bucket depends only on its bytes.
        buckets = np.array([zlib.crc32(example) % BUCKETS for example in element[tfma.INPUT_KEY]])
        predictions, saturated = {}, {}
        for name, predict in loaded_models(self).items():
            outputs = predict(inputs)
            predictions[name] = as_probabilities(self._applied, outputs)
            if isinstance(predict, TFLitePredict):
                saturated[name] = predict.saturated(inputs, outputs, buckets)
        logger.info("%d examples predicted by %d models", len(element[tfma.INPUT_KEY]), len(predictions))
        yield {
            tfma.FEATURES_KEY: {name: features[name] for name in self._features},
            # TFMA's rule: the predictions of a single model aren't keyed by its name.
            BUCKET_KEY: buckets,
            tfma.PREDICTIONS_KEY: predictions if len(predictions) > 1 else next(iter(predictions.values())),
        }
        yield beam.pvalue.TaggedOutput(SATURATED, saturated)


@beam.ptransform_fn
def _Predict(extracts: Any, predict: _DecodeAndPredict) -> Any:
    return extracts | beam.ParDo(predict).with_outputs(SATURATED, main=EXTRACTS)


def PredictExtractor(
    models: Sequence[Any], task: str, transform_graph: str | None, features: Sequence[str], applied: Activation = ""
) -> tfma.extractors.Extractor:
    """Create an extractor from serialized examples to features, all models' predictions, and saturation counts.

    It has two results: `EXTRACTS`, and `SATURATED` with the `Counts` of each TFLite model by name, for each batch.

    Args:
        models: Models from `shared_model`.
        task: Reference of the task, whose feature_spec() and decode() turn examples into model inputs.
        transform_graph: As for `ExampleDecoder`.
        features: The parsed features to keep: the label and slice features.
        applied: The activation that turns every model's outputs into probabilities.
    """
    named = {model.model_name: model for model in models}
    predict = _DecodeAndPredict(named, task, transform_graph, features, applied)
    return tfma.extractors.Extractor(stage_name="DecodeAndPredict", ptransform=_Predict(predict))
