"""The step `qat` from a baseline's folder to a trained model's folder. Imports TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components.examples import ExampleDecoder, check_dense
from components.keras_model import check_keras_takes, export, load_kept, output_names
from components.quantize.qat import check_ranges, preview, quantized, trained_ranges
from components.quantize.qat_spec import QatStep
from components.quantize.recurrent import sru  # noqa: F401 - registers the layer
from components.quantize.recurrent.deploy import deploy, has_recurrent
from components.quantize.recurrent.lowering import STEP_EXAMPLES
from components.quantize.recurrent.plan import Form
from components.quantize.scheme import Scheme
from components.report import TrainingReport
from components.task import compiling, load_task
from components.training import fine_tune, steps_per_epoch
from components.training_data import TrainingData, load_training_data

_LOG = logging.getLogger(__name__)


def train_quantized(
    source: Path,
    folder: Path,
    step: QatStep,
    scheme: Scheme,
    *,
    name: str,
    task: str,
    label: str,
    decoder: ExampleDecoder,
    files: Sequence[str],
    recurrent: Form | None = None,
    checkpoints: Path | None = None,
    logs: Path | None = None,
) -> TrainingReport:
    """Train a model under quantization and write its SavedModel, fake quantization included.

    Args:
        source: Folder of the Model artifact to start from, with its Keras model.
        folder: Where the SavedModel goes, in `Format-Serving`.
        step: How to train.
        scheme: The numeric format to train for, a static one.
        name: The recipe's, for messages.
        task: Reference of the task.
        label: The feature that is the target.
        decoder: From serialized examples to inputs and features.
        files: Gzipped TFRecord files to train on.
        recurrent: Form of recurrent layers that are lowered, as the recipe says.
        checkpoints, logs: As for `fine_tune`.

    Returns:
        What happened.

    Raises:
        SpecError, ModelError, DataError: As told by `quantized`, `fine_tune` and `load_training_data`.
    """
    check_dense({label: "examples.label"}, decoder.feature_spec)
    maker = compiling(load_task(task))
    model = load_kept(source)
    layers = preview(model, step, scheme)
    for layer in layers:
        _LOG.info(
            "%s: %s (%s): %s%s%s", name, layer.layer, layer.kind, layer.mode,
            f"; weights {layer.weights}" if layer.weights else "", f"; outputs {layer.outputs}; {layer.note}",
        )  # fmt: skip
    data = load_training_data(decoder, files, label, f"recipe {name}")
    check_keras_takes(model, data.few)
    tf.keras.utils.set_random_seed(step.seed)
    trained = quantized(model, step, scheme, steps_per_epoch(data, step))
    state = fine_tune(
        trained,
        maker,
        data,
        step,
        name=name,
        checkpoints=checkpoints,
        logs=logs,
        before_epoch=_freezing(trained, step.freeze_batch_norm),
    )
    ranges = trained_ranges(trained)
    check_ranges(ranges)
    if has_recurrent(trained):
        (output,) = output_names(model)
        deploy(trained, recurrent or "sequence", folder, output, _sequences(trained, data, step))
    else:
        export(trained, folder, output_names(model))
    return TrainingReport(
        recipe=name, kind=step.kind, epochs=state.epochs, best_epoch=state.best_epoch, layers=layers, ranges=ranges
    )


def _sequences(model: Any, data: TrainingData, step: QatStep) -> dict[str, Any]:
    """A few of the training split's, by model input."""
    inputs, _ = next(iter(data.batches(STEP_EXAMPLES, step.seed)))
    names = [tensor.name.partition(":")[0] for tensor in model.inputs]
    named = inputs if isinstance(inputs, Mapping) else {"": inputs}
    named = {names[0]: named[""]} if set(named) == {""} else named
    return {name: np.asarray(named[name]) for name in names}


def _freezing(model: Any, epoch: int | None) -> Callable[[int], bool]:
    """What freezes batch normalization before an epoch."""
    inner = [getattr(layer, "layer", layer) for layer in model.layers]
    norms = [layer for layer in inner if isinstance(layer, tf.keras.layers.BatchNormalization)]

    def before_epoch(index: int) -> bool:
        if epoch is None or index < epoch or not any(norm.trainable for norm in norms):
            return False
        for norm in norms:
            norm.trainable = False
        return True

    return before_epoch
