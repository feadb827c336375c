"""The one fine-tuning loop: what every step that trains a model further has in common. Imports TensorFlow."""

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
from components.data.task import CompilingTask
from components.data.training_data import TrainingData
from components.facts.training import EpochFact
from components.spec.steps.fine_tuning import EarlyStopping, FineTuning, learning_rate_at
from components.upstream.autograph import leave_keras_as_it_is

_LOG = logging.getLogger(__name__)
_STATE_FILE = "state.json"


class TrainingState(FrozenModel):
    """Where a fine-tuning stands after an epoch.

    Attributes:
        epochs: What happened so far.
        best_epoch: The epoch with the least loss on held-out examples; the last one without early stopping.
        best_loss: That loss.
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

    The same model, data and spec give the same weights, whether or not the process was killed in between, up to what
    the order of floating-point sums leaves open; noise layers' draws are not repeated after a kill.

    Args:
        model: An uncompiled Keras model.
        task: Compiles it; its optimizer gets the spec's learning rate.
        data: What to train on.
        spec: How.
        name: The recipe's, for messages.
        checkpoints: A folder that outlives this process; training goes on from what an earlier one left there, and
            each epoch is kept. The caller removes it when what comes out is safe. None keeps nothing.
        logs: A folder for TensorBoard; None writes none.
        before_epoch: Called with each epoch's index from 0; returns whether it changed how the model trains.
        after_batch: Called after each batch with the number of batches done since the start, and in an epoch; and
            once before this process's first, when the weights are those to go on from.
        counts_from: Epochs that early stopping does not choose from, nor count as waiting.

    Returns:
        What happened. With early stopping, the model has the best epoch's weights.

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
    # What trains is settled when the model is compiled; the optimizer is restored into the shape of the first epoch.
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
                remedy="check labels, the task's decode and the model's input and output shapes against each other",
            ) from error
    if spec.early_stopping is not None and state.best_epoch:
        loop.take_best()
    return state


def steps_per_epoch(data: TrainingData, spec: FineTuning) -> int:
    """Training batches in an epoch, of the examples that are not held out.

    Raises:
        ModelError: There are too few examples to hold some out.
    """
    return _steps(data.count(), spec)


def _steps(count: int, spec: FineTuning) -> int:
    if spec.early_stopping is not None:
        count -= math.ceil(count / _period(spec.early_stopping, count))
    return math.ceil(count / spec.batch_size)


def _period(stopping: EarlyStopping, count: int) -> int:
    """Each so-many-th example is held out."""
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
    task.compile(model)
    optimizer = model.optimizer
    # An optimizer that was made with a schedule refuses a rate: it is rebuilt with one.
    config = {**optimizer.get_config(), "learning_rate": learning_rate_at(spec.learning_rate, 0.0)}
    model.optimizer = type(optimizer).from_config(config)


def _compile_again(model: Any, task: CompilingTask) -> None:
    """Take over what trains now: Keras goes by what did when the model was compiled. The optimizer goes on."""
    optimizer = model.optimizer
    task.compile(model)
    model.optimizer = optimizer


class _Loop:
    """One epoch after the other, each kept before the next begins."""

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
        """The state that an earlier process left, with its weights; a new one if there is none."""
        if self._folder is None or not (self._folder / _STATE_FILE).is_file():
            return TrainingState()
        state = TrainingState.model_validate_json((self._folder / _STATE_FILE).read_bytes())
        done = len(state.epochs)
        model, optimizer = self._model, self._model.optimizer
        # Keras' legacy optimizers make their variables as they are restored.
        if hasattr(optimizer, "build"):
            optimizer.build(model.trainable_variables)
        self._checkpoint.restore(str(self._folder / f"epoch-{done}")).expect_partial()
        assert optimizer is model.optimizer
        if state.best_epoch and self._spec.early_stopping is not None:
            with np.load(self._folder / f"best-{state.best_epoch}.npz") as held:
                self._best = [held[f"arr_{index}"] for index in range(len(held.files))]
        _LOG.info("%s: goes on after epoch %d of %d", self._name, done, self._spec.epochs)
        return state

    def run(self, epoch: int, train: Any, watch: Any, state: TrainingState) -> TrainingState:
        """Train one epoch, keep it, and return the state after it."""
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
        self._tell(fact)
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
        # The state names what counts; until it is written, the epoch before does.
        write_atomically(folder / _STATE_FILE, state.model_dump_json().encode())
        for old in folder.glob("*-*"):
            if not old.name.startswith((f"epoch-{done}.", f"best-{state.best_epoch}.")):
                old.unlink()

    def _tell(self, fact: EpochFact) -> None:
        told = ", ".join(f"{name} {value:.4f}" for name, value in fact.figures.items())
        _LOG.info("%s: epoch %d of %d: %s", self._name, fact.epoch, self._spec.epochs, told)
        if self._writer is None:
            return
        with self._writer.as_default(step=fact.epoch):
            for name, value in {**fact.figures, "learning_rate": fact.learning_rate}.items():
                tf.summary.scalar(name, value)
        self._writer.flush()


class _Rate(tf.keras.callbacks.Callback):
    """Sets the learning rate before each batch; stops at a loss that is not finite after it, and names the batch."""

    def __init__(
        self, spec: FineTuning, name: str, steps: int, epoch: int, after_batch: Callable[[int, int], None]
    ) -> None:
        super().__init__()
        self._spec, self._name, self._steps, self._epoch = spec, name, steps, epoch
        self._after_batch = after_batch
        self._rate = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """See the base class."""
        self._rate = learning_rate_at(self._spec.learning_rate, self._epoch + batch / self._steps)
        tf.keras.backend.set_value(self.model.optimizer.learning_rate, self._rate)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """See the base class."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise ModelError(
                f"the loss is {loss} in epoch {self._epoch + 1}, after {batch + 1} of {self._steps} steps, at a "
                f"learning rate of {self._rate:g}",
                where=self._name,
                bound="a finite loss",
                remedy="lower the step's learning_rate, or look for NaN in the examples",
            )
        self._after_batch(self._epoch * self._steps + batch + 1, self._steps)
