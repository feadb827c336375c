"""Trains the float baseline. TFX's Trainer calls `run_fn`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from components.baseline.built import built_model
from components.core.errors import ModelError, summary_line
from components.data.compiled import compile_model
from components.data.dense import check_dense, named_label
from components.data.examples import ExampleDecoder
from components.data.task import load_task, trainable
from components.model.keras_model import (
    check_exportable,
    check_keras_takes,
    check_learns,
    export,
    output_names,
    save_keras,
)
from components.spec.baseline import TrainedBaseline

_LOG = logging.getLogger(__name__)


def run_fn(fn_args: Any) -> None:
    """Entry point for TFX. `custom_config` contains `spec` (a TrainedBaseline as JSON), `task`, and `label`."""
    config = fn_args.custom_config
    decoder = ExampleDecoder(config["task"], fn_args.transform_graph_path)
    spec = TrainedBaseline.model_validate_json(config["spec"])
    model = train(config["task"], spec, decoder, sorted(_files(fn_args.train_files)), config["label"])
    folder = Path(fn_args.serving_model_dir).parent
    export(model, folder)
    save_keras(model, folder)


def train(task: str, spec: TrainedBaseline, decoder: ExampleDecoder, files: list[str], label: str) -> Any:
    """Build and fit the task's model.

    The order of examples within files can differ between ingestions, so weights are reproducible for one Examples
    artifact, not for one data folder.

    Raises:
        SpecError: The task has no dense feature with the label's name, or doesn't build a model.
        ModelError: The model cannot be exported, has nothing to train, or doesn't accept the data, or the loss isn't
            finite.
        DataError: There are no examples, or their input names differ from the model's.
    """
    import tensorflow as tf

    from components.data.training_data import load_training_data
    from components.upstream.autograph import leave_keras_as_it_is

    leave_keras_as_it_is()
    check_dense(named_label(label), decoder.feature_spec)
    maker = trainable(load_task(task))
    tf.keras.utils.set_random_seed(spec.seed)
    model = built_model(maker)
    check_exportable(model)
    compile_model(maker, model)
    check_learns(model)
    callbacks = [_progress(tf, spec.epochs)]
    try:
        data = load_training_data(decoder, files, label, "baseline.split", output_names(model))
        check_keras_takes(model, data.few)
        if data.whole is not None:
            inputs, targets, *weights = data.whole
            model.fit(
                inputs,
                targets,
                spec.batch_size,
                spec.epochs,
                verbose=0,
                callbacks=callbacks,
                sample_weight=weights[0] if weights else None,
            )
        else:
            batches = data.streamed(spec.batch_size, spec.seed)
            model.fit(batches, epochs=spec.epochs, verbose=0, callbacks=callbacks)
    except tf.errors.InvalidArgumentError as error:
        raise ModelError(
            f"the model cannot be trained on these examples: {summary_line(error)}",
            where="baseline",
            remedy="check that the labels and the task's decode() match the model's input and output shapes",
        ) from error
    return model


def _progress(tf: Any, epochs: int) -> Any:
    def on_epoch_end(epoch: int, logs: dict[str, float]) -> None:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in logs.items())
        _LOG.info("epoch %d of %d: %s", epoch + 1, epochs, figures)
        if not tf.math.is_finite(logs["loss"]):
            raise ModelError(
                f"the loss is {logs['loss']} after epoch {epoch + 1}",
                where="baseline",
                bound="a finite loss",
                remedy="lower the learning rate in the task's compile(), or look for NaN in the examples",
            )

    return tf.keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)


def _files(patterns: list[str]) -> list[str]:
    import tensorflow as tf

    return [file for pattern in patterns for file in tf.io.gfile.glob(pattern)]
