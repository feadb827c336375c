"""What TFMA needs of every example - features, label, every model's prediction - in one decode and one pass.

The stock extractors cannot serve: a run cannot mix SavedModel and TFLite, and the TFLite extractor truncates and wraps
quantized inputs, fills missing features with -1 and runs a Python loop over examples.
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
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.utils import model_util

from components.core.errors import DataError
from components.data.examples import ExampleDecoder
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

# Not one of TFMA's model types, so that nothing of TFMA ever tries to load or run these models itself.
MODEL_TYPE = "edgemill"
# Main and other output of the stage that predicts: extracts, and per model what saturates.
EXTRACTS, SATURATED = "extracts", "saturated"
# Of `BUCKETS`: to look inside a model costs another run of it.
INSIDE_BUCKETS = BUCKETS // 5


def load_saved_model(path: str) -> Predict:
    """The `serving_default` signature of a SavedModel.

    Raises:
        ModelError: There is none, or it has several outputs.
    """
    loaded, signature = load_serving(Path(path))
    only_output(tuple(signature.structured_outputs), "baseline")

    def predict(inputs: Mapping[str, Array]) -> Array:
        # By way of the loaded model, to hold it: signatures hold their variables by weak reference only.
        return run_serving(loaded.signatures[SIGNATURE], inputs)

    return predict


class TFLitePredict:
    """A TFLite file with one output, and how many of its values saturate.

    Args:
        content: What the file holds.
        where: What errors call it.

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
        """Count the outputs of all these examples; what they are made of for those in the first buckets."""
        counts = self._saturation.output(outputs)
        chosen = buckets < INSIDE_BUCKETS
        if not self._saturation.looks_inside or not chosen.any():
            return counts
        return counts | self._saturation.inside({name: values[chosen] for name, values in inputs.items()})


def load_tflite(path: str, read: Callable[[], bytes] | None = None) -> TFLitePredict:
    """A TFLite file with one output.

    Args:
        path: Of the file.
        read: Returns its content, which it may hold to a digest; None reads the path.

    Raises:
        ModelError: The runtime rejects it, or it has several outputs.
    """
    return TFLitePredict(Path(path).read_bytes() if read is None else read(), path)


def shared_model(name: str, path: str, load: Callable[[str], Predict], is_baseline: bool = False) -> Any:
    """A model for TFMA that every worker loads once, from its path."""
    return tfma.types.EvalSharedModel(
        model_path=path,
        model_name=name,
        model_type=MODEL_TYPE,
        is_baseline=is_baseline,
        model_loader=tfma.types.ModelLoader(construct_fn=functools.partial(load, path)),
    )


def read_batches(file: str, batch_size: int) -> Iterator[Extracts]:
    """Batches of serialized tf.Examples of one gzipped TFRecord file, as TFMA's extracts.

    Raises:
        DataError: The file is truncated or damaged.
    """
    records = tf.data.TFRecordDataset(file, compression_type="GZIP")
    try:
        for batch in records.batch(batch_size).as_numpy_iterator():
            yield {tfma.INPUT_KEY: batch}
    except tf.errors.DataLossError as error:
        raise DataError(
            f"the TFRecord file is truncated or damaged: {error.message}",
            where=file,
            remedy="write the file again and ingest it again",
        ) from error


class _DecodeAndPredict(model_util.DoFnWithModels):
    """Extracts with INPUT_KEY -> extracts with FEATURES_KEY, PREDICTIONS_KEY and BUCKET_KEY.

    Not TFMA's BatchReducible variant: that one answers errors by running the batch example by example.
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
        # That depends on the example's bytes alone.
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
            # TFMA's own rule: a single model's predictions are not keyed by its name.
            BUCKET_KEY: buckets,
            tfma.PREDICTIONS_KEY: predictions if len(predictions) > 1 else next(iter(predictions.values())),
        }
        yield beam.pvalue.TaggedOutput(SATURATED, saturated)


@beam.ptransform_fn
def _Predict(
    extracts: Any,
    models: Mapping[str, Any],
    task: str,
    transform_graph: str | None,
    features: Sequence[str],
    applied: Activation,
) -> Any:
    predict = _DecodeAndPredict(models, task, transform_graph, features, applied)
    return extracts | beam.ParDo(predict).with_outputs(SATURATED, main=EXTRACTS)


def PredictExtractor(
    models: Sequence[Any], task: str, transform_graph: str | None, features: Sequence[str], applied: Activation = ""
) -> tfma.extractors.Extractor:
    """An extractor from serialized examples to features and all models' predictions, and to what saturates.

    It has two results, `EXTRACTS` and `SATURATED`: for each batch, the `Counts` of each TFLite model by its name.

    Args:
        models: What `shared_model` returned.
        task: Reference of the task, whose feature_spec() and decode() turn examples into model inputs.
        transform_graph: As for `ExampleDecoder`.
        features: The parsed features to keep: label, slices.
        applied: What makes probabilities of every model's outputs.
    """
    return tfma.extractors.Extractor(
        stage_name="DecodeAndPredict",
        ptransform=_Predict({model.model_name: model for model in models}, task, transform_graph, features, applied),
    )
