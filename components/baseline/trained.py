"""Training of the float baseline. Called by TFX's Trainer through `run_fn`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.baseline.export import export, refuse_stateful
from components.baseline.spec import TrainedBaseline
from components.errors import ModelError, SpecError
from components.examples import ExampleDecoder
from components.task import TrainableTask, load_task

if TYPE_CHECKING:
    pass

_LOG = logging.getLogger(__name__)


def run_fn(fn_args: Any) -> None:
    """TFX's entry point. `custom_config` holds `spec` (TrainedBaseline as JSON), `task` and `label`."""
    config = fn_args.custom_config
    decoder = ExampleDecoder(config["task"], fn_args.transform_graph_path)
    spec = TrainedBaseline.model_validate_json(config["spec"])
    model = train(config["task"], spec, decoder, sorted(_files(fn_args.train_files)), config["label"])
    export(model, Path(fn_args.serving_model_dir).parent)


def train(task: str, spec: TrainedBaseline, decoder: ExampleDecoder, files: list[str], label: str) -> Any:
    """Build and fit the task's model.

    The order of examples within files may differ from one ingestion to the next, so weights are reproducible from one
    Examples artifact, not from one data folder.

    Args:
        task: Reference of the task.
        spec: Epochs, batch size, seed.
        decoder: From serialized examples to inputs and features.
        files: Gzipped TFRecord files of the training split.
        label: The feature that `fit` is given as target.

    Returns:
        The trained `tf_keras.Model`.

    Raises:
        ModelError: The loss is not finite, the model refuses the data, or it is stateful.
    """
    import tensorflow as tf

    trainable = load_task(task)
    if not isinstance(trainable, TrainableTask):
        raise SpecError(
            "the baseline is to be trained, but the task has no build_model and compile",
            where="baseline",
            bound="the methods of components.task.TrainableTask",
            measured=type(trainable).__name__,
            remedy="add them, or name a pretrained model: `baseline: {kind: pretrained, path: ...}`",
        )
    tf.keras.utils.set_random_seed(spec.seed)
    model = trainable.build_model()
    refuse_stateful(model)
    trainable.compile(model)
    # Decoded once, then kept: decoding images anew each epoch would cost more than small models' training.
    examples = decoder.dataset(files, batch_size=1000).map(lambda inputs, features: (inputs, features[label]))
    batches = (
        examples.unbatch()
        .cache()
        .shuffle(10_000, seed=spec.seed, reshuffle_each_iteration=True)
        .batch(spec.batch_size)
        .prefetch(2)
    )
    try:
        model.fit(batches, epochs=spec.epochs, verbose=0, callbacks=[_progress(tf, spec.epochs)])
    except tf.errors.InvalidArgumentError as error:
        raise ModelError(
            f"the model cannot be trained on these examples: {error.message.splitlines()[0]}",
            where="baseline",
            remedy="check labels, the task's decode and the model's input and output shapes against each other",
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
                remedy="lower the learning rate in the task's compile, or look for NaN in the examples",
            )

    return tf.keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)


def _files(patterns: list[str]) -> list[str]:
    import tensorflow as tf

    return [file for pattern in patterns for file in tf.io.gfile.glob(pattern)]
