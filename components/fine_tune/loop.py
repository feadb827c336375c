"""The fine-tuning loop that all training steps share. Imports TensorFlow."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components.core.errors import ModelError, summary_line
from components.core.files import write_atomically
from components.core.values import SEEDS, FrozenModel
from components.data.compiled import compile_model
from components.data.task import CompilingTask
from components.data.training_data import TrainingData
from components.facts.training import EpochFact
from components.spec.steps.fine_tuning import EarlyStopping, FineTuning, learning_rate_at
from components.upstream.autograph import leave_keras_as_it_is

_LOG = logging.getLogger(__name__)
_STATE_FILE = "state.json"


class TrainingState(FrozenModel):
    """The state of fine-tuning after an epoch.

    Attributes:
        epochs: The completed epochs.
        best_epoch: The epoch with the lowest loss on held-out examples; the last epoch without early stopping.
        best_loss: The loss of that epoch.
    """

    epochs: tuple[EpochFact, ...] = ()
    best_epoch: int = 0
    best_loss: float = math.inf


def fine_tune(
    model: Any,
    task: CompilingTask,
    data: TrainingData,
    spec: FineTuning,
    *,
    name: str,
    checkpoints: Path | None = None,
    logs: Path | None = None,
    before_epoch: Callable[[int], bool] = lambda _: False,
    after_batch: Callable[[int, int], None] = lambda _done, _steps: None,
    counts_from: int = 0,
) -> TrainingState:
    """Train a model further, in place.

    The same model, data, and spec give the same weights, even if the process was killed in between, except for the
    order of floating-point sums. Noise layers draw different numbers after a kill.

    Args:
        model: An uncompiled Keras model.
        task: Compiles the model. The optimizer gets the learning rate of the spec.
        data: The training data.
        spec: The parameters of the fine-tuning.
        name: The recipe's name, for messages.
        checkpoints: A folder that outlives this process. Each epoch is saved there, and training resumes from the
            epoch that an earlier process saved. The caller removes the folder when the result is safe. None disables
            checkpoints.
        logs: A folder for TensorBoard logs; None writes none.
        before_epoch: Called with each epoch's index from 0. Returns whether it changed the training of the model.
        after_batch: Called after each batch, and once before the first batch of this process with the weights to start
            from. Takes the number of batches since the start of the training, and the number of batches per epoch.
        counts_from: Number of epochs at the start that early stopping ignores: they are never the best, nor part of the
            patience.

    Returns:
        The final state. With early stopping, the model has the weights of the best epoch.

    Raises:
        ModelError: The loss is not finite, or the model cannot be trained on these examples.
    """
    leave_keras_as_it_is()
    count = data.count()
    examples, held_out = data, None
    if spec.early_stopping is not None:
        examples, held_out = data.without_each(_period(spec.early_stopping, count))
    steps = _steps(count, spec)
    watched = None if held_out is None else held_out.batches(spec.batch_size, 0)
    # Before compiling, which fixes the trainable weights. The optimizer is restored with the first epoch's variables.
    before_epoch(0)
    _compile(model, task, spec)
    loop = _Loop(model, spec, name, steps, checkpoints, logs, after_batch, counts_from)
    state = loop.restore()
    after_batch(len(state.epochs) * steps, steps)
    while len(state.epochs) < spec.epochs and not _stops(state, spec.early_stopping, counts_from):
        epoch = len(state.epochs)
        tf.keras.utils.set_random_seed((spec.seed + epoch) % SEEDS)
        if before_epoch(epoch):
            _compile_again(model, task)
        try:
            state = loop.run(epoch, examples.batches(spec.batch_size, (spec.seed + epoch) % SEEDS), watched, state)
        except tf.errors.InvalidArgumentError as error:
            raise ModelError(
                f"the model cannot be trained on these examples: {summary_line(error)}",
                where=name,
                remedy="check that the labels, the task's decode, and the model's input and output shapes match",
            ) from error
    if spec.early_stopping is not None and state.best_epoch:
        loop.take_best()
    return state


def steps_per_epoch(data: TrainingData, spec: FineTuning) -> int:
    """Training batches per epoch, without the held-out examples.

    Raises:
        ModelError: There are too few examples to hold some out.
    """
    return _steps(data.count(), spec)


def _steps(count: int, spec: FineTuning) -> int:
    if spec.early_stopping is not None:
        count -= math.ceil(count / _period(spec.early_stopping, count))
    return math.ceil(count / spec.batch_size)


def _period(stopping: EarlyStopping, count: int) -> int:
    """The interval between held-out examples."""
    period = max(2, round(1 / stopping.hold_out))
    if count < 2 * period:
        raise ModelError(
            "there are too few examples to hold some out for early stopping",
            where="early_stopping.hold_out",
            bound=f"at least {2 * period} examples",
            measured=count,
            remedy="raise hold_out, or remove early_stopping",
        )
    return period


def _stops(state: TrainingState, stopping: EarlyStopping | None, counts_from: int) -> bool:
    waited = len(state.epochs) - max(state.best_epoch, counts_from)
    return stopping is not None and waited >= stopping.patience


def _compile(model: Any, task: CompilingTask, spec: FineTuning) -> None:
    compile_model(task, model)
    optimizer = model.optimizer
    # An optimizer created with a schedule does not accept a learning rate, so rebuild it with one.
    config = {**optimizer.get_config(), "learning_rate": learning_rate_at(spec.learning_rate, 0.0)}
    model.optimizer = type(optimizer).from_config(config)


def _compile_again(model: Any, task: CompilingTask) -> None:
    """Compile again after the trainable weights changed, and keep the optimizer with its state."""
    optimizer = model.optimizer
    compile_model(task, model)
    model.optimizer = optimizer


class _Loop:
    """Runs one epoch after another, and saves each before the next one starts."""

    def __init__(
        self,
        model: Any,
        spec: FineTuning,
        name: str,
        steps: int,
        checkpoints: Path | None,
        logs: Path | None,
        after_batch: Callable[[int, int], None],
        counts_from: int,
    ) -> None:
        self._after_batch, self._counts_from = after_batch, counts_from
        self._model, self._spec, self._name, self._steps, self._folder = model, spec, name, steps, checkpoints
        self._writer = tf.summary.create_file_writer(str(logs)) if logs is not None else None
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        self._best: list[Any] | None = None

    def restore(self) -> TrainingState:
        """Restore the state and weights that an earlier process saved; return a new state if there is none."""
        if self._folder is None or not (self._folder / _STATE_FILE).is_file():
            return TrainingState()
        state = TrainingState.model_validate_json((self._folder / _STATE_FILE).read_bytes())
        done = len(state.epochs)
        model, optimizer = self._model, self._model.optimizer
        # Keras' legacy optimizers have no `build`; they create their variables while they are restored.
        if hasattr(optimizer, "build"):
            optimizer.build(model.trainable_variables)
        self._checkpoint.restore(str(self._folder / f"epoch-{done}")).expect_partial()
        assert optimizer is model.optimizer
        if state.best_epoch and self._spec.early_stopping is not None:
            with np.load(self._folder / f"best-{state.best_epoch}.npz") as held:
                self._best = [held[f"arr_{index}"] for index in range(len(held.files))]
        _LOG.info("%s: resumes after epoch %d of %d", self._name, done, self._spec.epochs)
        return state

    def run(self, epoch: int, train: Any, watch: Any, state: TrainingState) -> TrainingState:
        """Train one epoch, save it, and return the state after it."""
        began = time.perf_counter()
        history = self._model.fit(
            train,
            validation_data=watch,
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
            callbacks=[_Rate(self._spec, self._name, self._steps, epoch, self._after_batch)],
        ).history
        figures = {name: float(values[-1]) for name, values in history.items()}
        rate = float(tf.keras.backend.get_value(self._model.optimizer.learning_rate))
        fact = EpochFact(epoch=epoch + 1, learning_rate=rate, seconds=time.perf_counter() - began, figures=figures)
        self._log(fact)
        state = self._after(state, fact)
        if self._folder is not None:
            self._keep(state)
        return state

    def take_best(self) -> None:
        """Give the model the best epoch's weights."""
        assert self._best is not None
        self._model.set_weights(self._best)

    def _after(self, state: TrainingState, fact: EpochFact) -> TrainingState:
        epochs = (*state.epochs, fact)
        if self._spec.early_stopping is None:
            return TrainingState(epochs=epochs, best_epoch=fact.epoch, best_loss=fact.figures["loss"])
        loss = fact.figures["val_loss"]
        if fact.epoch > self._counts_from and loss < state.best_loss - self._spec.early_stopping.min_delta:
            self._best = self._model.get_weights()
            return TrainingState(epochs=epochs, best_epoch=fact.epoch, best_loss=loss)
        return state.model_copy(update={"epochs": epochs})

    def _keep(self, state: TrainingState) -> None:
        folder, done = self._folder, len(state.epochs)
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        self._checkpoint.write(str(folder / f"epoch-{done}"))
        if state.best_epoch == done and self._best is not None:
            np.savez(folder / f"best-{done}.npz", *self._best)
        # The state file names the valid checkpoint. Until it is replaced, this is the previous epoch.
        write_atomically(folder / _STATE_FILE, state.model_dump_json().encode())
        for old in folder.glob("*-*"):
            if not old.name.startswith((f"epoch-{done}.", f"best-{state.best_epoch}.")):
                old.unlink()

    def _log(self, fact: EpochFact) -> None:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in fact.figures.items())
        _LOG.info("%s: epoch %d of %d: %s", self._name, fact.epoch, self._spec.epochs, figures)
        if self._writer is None:
            return
        with self._writer.as_default(step=fact.epoch):
            for name, value in {**fact.figures, "learning_rate": fact.learning_rate}.items():
                tf.summary.scalar(name, value)
        self._writer.flush()


class _Rate(tf.keras.callbacks.Callback):
    """Sets the learning rate before each batch, and raises an error if the loss after it is not finite."""

    def __init__(
        self, spec: FineTuning, name: str, steps: int, epoch: int, after_batch: Callable[[int, int], None]
    ) -> None:
        super().__init__()
        self._spec, self._name, self._steps, self._epoch = spec, name, steps, epoch
        self._after_batch = after_batch
        self._rate = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self._rate = learning_rate_at(self._spec.learning_rate, self._epoch + batch / self._steps)
        tf.keras.backend.set_value(self.model.optimizer.learning_rate, self._rate)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise ModelError(
                f"the loss is {loss} in epoch {self._epoch + 1}, after {batch + 1} of {self._steps} steps, at a "
                f"learning rate of {self._rate:g}",
                where=self._name,
                bound="a finite loss",
                remedy="lower the step's learning_rate, or look for NaN in the examples, and for functions "
                "of the model whose gradient is not finite, such as the square root of 0, or a standard deviation of "
                "equal values",
            )
        self._after_batch(self._epoch * self._steps + batch + 1, self._steps)
