"""The fine-tuning loop, its schedules and its data, against numpy where there is a number to compare with."""

import itertools
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from components.core.errors import DataError, ModelError
from components.data import training_data
from components.data.examples import ExampleDecoder
from components.data.training_data import load_training_data
from components.fine_tune.loop import fine_tune, steps_per_epoch
from components.fine_tune.step import checkpoint_folder, remove_checkpoints
from components.spec.steps.fine_tuning import FineTuning, LearningRatePhase, learning_rate_at

COUNT = 50
TASK = """
import tensorflow as tf

class Task:
    optimizer = staticmethod(lambda: tf.keras.optimizers.SGD(7.0))
    loss = "mse"

    def feature_spec(self):
        return {"x": tf.io.FixedLenFeature([3], tf.float32), "y": tf.io.FixedLenFeature([1], tf.float32)}

    def decode(self, features):
        return features["x"]

    def compile(self, model):
        model.compile(self.optimizer(), self.loss, ["mae"])

TASK = Task()

class WithAdam(Task):
    optimizer = staticmethod(lambda: tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(1.0, 9)))

ADAM = WithAdam()

class WithLegacyAdam(Task):
    optimizer = staticmethod(lambda: tf.keras.optimizers.legacy.Adam())

LEGACY = WithLegacyAdam()

class Classes(Task):
    loss = "sparse_categorical_crossentropy"

CLASSES = Classes()
"""


def examples():
    random = np.random.default_rng(21)
    x = random.normal(size=(COUNT, 3)).astype(np.float32)
    y = (x @ [[0.5], [-1.0], [2.0]] + 0.3 + random.normal(0, 0.1, (COUNT, 1))).astype(np.float32)
    return x, y


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("training")
    (made / "fine_tuned_task.py").write_text(TASK)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    x, y = examples()
    for part, rows in enumerate(np.array_split(np.arange(COUNT), 2)):
        with tf.io.TFRecordWriter(str(made / f"part-{part}.gz"), options) as writer:
            for row in rows:
                features = {
                    name: tf.train.Feature(float_list=tf.train.FloatList(value=values[row]))
                    for name, values in (("x", x), ("y", y))
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    with tf.io.TFRecordWriter(str(made / "empty.gz"), options):
        pass
    sys.path.insert(0, str(made))
    yield made
    sys.path.remove(str(made))


@pytest.fixture(scope="module")
def task(folder):
    import fine_tuned_task

    return fine_tuned_task


@pytest.fixture(scope="module")
def data(folder):
    decoder = ExampleDecoder("fine_tuned_task:TASK")
    return load_training_data(decoder, [str(folder / f"part-{part}.gz") for part in (0, 1)], "y", "recipe a")


def line():
    """A linear model with known weights."""
    model = tf.keras.Sequential([tf.keras.layers.Input((3,), name="x"), tf.keras.layers.Dense(1)])
    model.set_weights([np.array([[0.1], [0.2], [0.3]], np.float32), np.zeros(1, np.float32)])
    return model


def deep():
    """One with draws and its own statistics."""
    tf.keras.utils.set_random_seed(22)
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((3,), name="x"),
            layers.Dense(5),
            layers.BatchNormalization(),
            layers.Dropout(0.1),
            layers.Dense(1),
        ]
    )


def spec(**said):
    return FineTuning.model_validate({"epochs": 3, "batch_size": COUNT, **said})


def phase(kind, epochs, start, end=None):
    return {"kind": kind, "epochs": epochs, "start": start, "end": end}


# Schedules.
CURVES = {
    "constant": lambda share, start, end: np.full_like(share, start),
    "linear": lambda share, start, end: np.interp(share, [0, 1], [start, end]),
    "cosine": lambda share, start, end: end + (start - end) * np.cos(np.pi * share / 2) ** 2,
    "exponential": lambda share, start, end: np.exp(np.interp(share, [0, 1], np.log([start, end]))),
}


@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize(("start", "end"), [(1e-2, 1e-4), (1e-5, 1e-2)])
def test_phase_follows_its_curve(kind, start, end):
    one = LearningRatePhase.model_validate(phase(kind, 2.5, start, None if kind == "constant" else end))
    share = np.linspace(0, 1, 41)
    found = [learning_rate_at((one,), 2.5 * part) for part in share]
    np.testing.assert_allclose(found, CURVES[kind](share, start, end), rtol=1e-9)


def test_phases_follow_one_another_and_the_last_end_holds_on():
    said = [phase("linear", 0.5, 1e-4, 1e-2), phase("constant", 1, 1e-2), phase("exponential", 1.5, 1e-2, 1e-3)]
    schedule = spec(learning_rate=said).learning_rate
    moments = [0, 0.25, 0.5, 1.2, 1.5, 2.25, 3.0, 10.0]
    wanted = [1e-4, 5.05e-3, 1e-2, 1e-2, 1e-2, 10**-2.5, 1e-3, 1e-3]
    assert [learning_rate_at(schedule, moment) for moment in moments] == pytest.approx(wanted)


def test_one_rate_is_always_the_same():
    assert [learning_rate_at(3e-4, moment) for moment in (0, 0.5, 100)] == [3e-4] * 3


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"learning_rate": [phase("constant", 1, 0.1, 0.2)]}, "a constant phase has no `end`"),
        ({"learning_rate": [phase("exponential", 1, 0.1)]}, "a exponential phase needs an `end`"),
        ({"learning_rate": []}, "at least 1 item"),
        ({"learning_rate": 0}, "greater than 0"),
        (
            {"learning_rate": [phase("constant", 2, 0.1), phase("constant", 1.5, 0.1)]},
            "take 3.5 epochs, but epochs is 3",
        ),
        ({"early_stopping": {"hold_out": 0.6}}, "less than or equal to 0.5"),
        ({"early_stopping": {"patience": 0}}, "greater than 0"),
    ],
)
def test_spec_that_makes_no_sense_is_refused(said, message):
    with pytest.raises(ValidationError) as caught:
        spec(**said)
    assert message in str(caught.value)


# Data.
def rows_of(batches):
    return sorted(tuple(row) for inputs, _ in batches for row in inputs.numpy().tolist())


@pytest.fixture(params=["whole", "streamed"])
def either(request, data, folder, monkeypatch):
    """The same examples in memory, and read again each time."""
    if request.param == "whole":
        return data
    monkeypatch.setattr(training_data, "IN_MEMORY_BYTES", 16)
    made = load_training_data(data.decoder, data.files, "y", "recipe a")
    assert made.whole is None
    return made


def test_batches_hold_every_example_once_in_an_order_of_the_seed(either):
    x, y = examples()
    assert either.count() == COUNT
    orders = {}
    for seed in (1, 1, 2):
        parts = list(either.batches(16, seed))
        assert [len(labels) for _, labels in parts] == [16, 16, 16, 2]
        found = np.concatenate([np.concatenate([inputs, labels], 1) for inputs, labels in parts])
        assert sorted(found.tolist()) == sorted(np.concatenate([x, y], 1).tolist())
        assert orders.setdefault(seed, found.tolist()) == found.tolist()
    assert orders[1] != orders[2]


@pytest.mark.parametrize("period", [2, 7])
def test_each_so_many_th_example_is_held_out(either, period):
    x, _ = examples()
    others, held_out = either.without_each(period)
    assert rows_of(held_out.batches(8, 0)) == sorted(map(tuple, x[::period].tolist()))
    assert sorted(rows_of(others.batches(8, 0)) + rows_of(held_out.batches(8, 0))) == sorted(map(tuple, x.tolist()))
    assert (others.count(), held_out.count()) == (COUNT - len(x[::period]), len(x[::period]))


def test_empty_split_is_reported(data, folder):
    with pytest.raises(DataError, match="recipe a: there are no examples to train on"):
        load_training_data(data.decoder, [str(folder / "empty.gz")], "y", "recipe a")


def test_last_batch_of_an_epoch_counts_as_a_step(data):
    assert [steps_per_epoch(data, spec(batch_size=size)) for size in (1, 25, 26, 49, 50, 51)] == [50, 2, 2, 2, 1, 1]


@pytest.mark.parametrize(("hold_out", "trained"), [(0.5, 25), (0.2, 40), (0.15, 42)])
def test_examples_that_are_held_out_are_no_steps(data, hold_out, trained):
    said = spec(batch_size=1, early_stopping={"hold_out": hold_out})
    assert steps_per_epoch(data, said) == trained == data.without_each(round(1 / hold_out))[0].count()


# The loop.
def descended(rates):
    """Gradient descent on all examples, one step per rate."""
    x, y = examples()
    weights, bias = np.array([[0.1], [0.2], [0.3]]), np.zeros(1)
    losses = []
    for rate in rates:
        error = x @ weights + bias - y
        losses.append(float(np.mean(error**2)))
        weights, bias = weights - rate * 2 * x.T @ error / COUNT, bias - rate * 2 * error.mean()
    return weights, bias, losses


def test_training_is_gradient_descent_at_the_rates_of_the_schedule(task, data):
    said = spec(epochs=4, learning_rate=[phase("linear", 2, 0.1, 0.3), phase("exponential", 2, 0.3, 0.03)])
    model = line()
    state = fine_tune(model, task.TASK, data, said, name="a")
    rates = [0.1, 0.2, 0.3, 0.3 * 10**-0.5]
    weights, bias, losses = descended(rates)
    np.testing.assert_allclose(model.get_weights()[0], weights, rtol=1e-4)
    np.testing.assert_allclose(model.get_weights()[1], bias, rtol=1e-3)
    assert [fact.learning_rate for fact in state.epochs] == pytest.approx(rates)
    assert [fact.figures["loss"] for fact in state.epochs] == pytest.approx(losses, rel=1e-4)
    assert [fact.epoch for fact in state.epochs] == [1, 2, 3, 4]
    assert (state.best_epoch, set(state.epochs[0].figures)) == (4, {"loss", "mae"})


def test_each_batch_is_reported_once_when_training_runs(task, data):
    seen = []
    fine_tune(
        line(), task.TASK, data, spec(epochs=2, batch_size=10), name="a", after_batch=lambda *each: seen.append(each)
    )
    assert seen == [(done, 5) for done in range(11)]


def test_rate_moves_within_an_epoch(task, data):
    said = spec(epochs=1, batch_size=10, learning_rate=[phase("linear", 1, 0.0001, 0.0101)])
    state = fine_tune(line(), task.TASK, data, said, name="a")
    # The last of five steps begins at four fifths of the epoch.
    assert state.epochs[0].learning_rate == pytest.approx(0.0081)


def test_early_stopping_goes_back_to_the_best_epochs_weights(task, data):
    # From the fourth epoch on, steps are too long.
    rates = [phase("constant", 3, 0.1), phase("constant", 4, 2.0)]
    stopping = {"patience": 2, "hold_out": 0.2}
    model = line()
    state = fine_tune(model, task.TASK, data, spec(epochs=7, learning_rate=rates, early_stopping=stopping), name="a")
    assert (len(state.epochs), state.best_epoch) == (5, 3)
    twin = line()
    fine_tune(twin, task.TASK, data.without_each(5)[0], spec(epochs=3, learning_rate=0.1), name="a")
    for found, wanted in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    x, y = (values[::5] for values in examples())
    error = x @ model.get_weights()[0] + model.get_weights()[1] - y
    assert state.best_loss == pytest.approx(float(np.mean(error**2)), rel=1e-4)
    assert state.best_loss == min(fact.figures["val_loss"] for fact in state.epochs)


def test_fall_of_less_than_min_delta_is_none(task, data):
    stopping = {"patience": 1, "min_delta": 100.0}
    state = fine_tune(line(), task.TASK, data, spec(learning_rate=0.01, early_stopping=stopping), name="a")
    # The first epoch always is one.
    assert (len(state.epochs), state.best_epoch) == (2, 1)


def test_too_few_examples_to_hold_out_are_reported_before_training(task, data):
    few = data.without_each(5)[1]
    with pytest.raises(ModelError) as caught:
        fine_tune(line(), task.TASK, few, spec(early_stopping={"hold_out": 0.1}), name="a")
    said = str(caught.value)
    assert said.startswith("early_stopping.hold_out: there are too few examples to hold some out")
    assert "expected: at least 20 examples; found: 10" in said


def test_loss_that_is_not_finite_is_reported_with_epoch_and_rate(task, data):
    said = spec(batch_size=10, learning_rate=[phase("constant", 1, 0.01), phase("constant", 1, 1e25)])
    with pytest.raises(ModelError) as caught:
        fine_tune(line(), task.TASK, data, said, name="a")
    message = str(caught.value)
    assert message.startswith("a: the loss is ")
    assert "in epoch 2, after 2 of 5 steps, at a learning rate of 1e+25" in message
    assert "lower the step's learning_rate" in message


def test_labels_that_do_not_fit_are_reported(task, data):
    with pytest.raises(ModelError) as caught:
        fine_tune(line(), task.CLASSES, data, spec(), name="a")
    assert "a: the model cannot be trained on these examples" in str(caught.value)


def test_logs_hold_every_epochs_figures(task, data, tmp_path):
    state = fine_tune(line(), task.TASK, data, spec(learning_rate=0.1), name="a", logs=tmp_path / "logs")
    found = {}
    for file in (tmp_path / "logs").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    assert set(found) == set(itertools.product(("loss", "mae", "learning_rate"), (1, 2, 3)))
    assert found["loss", 2] == pytest.approx(state.epochs[1].figures["loss"])
    assert found["learning_rate", 3] == pytest.approx(0.1)


class InterruptionError(Exception):
    pass


def interrupting(at):
    def before_epoch(index):
        if index == at:
            raise InterruptionError
        return False

    return before_epoch


def same_weights(one, other, rtol=1e-5):
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.allclose(left, right, rtol=rtol, atol=1e-7) for left, right in pairs)


@pytest.mark.parametrize(
    ("either", "optimizer"), [("whole", "TASK"), ("whole", "LEGACY"), ("streamed", "ADAM")], indirect=["either"]
)
def test_interrupted_training_continues_to_the_same_weights(task, either, tmp_path, optimizer):
    used = getattr(task, optimizer)
    said = spec(epochs=4, batch_size=16, learning_rate=[phase("cosine", 4, 0.05, 0.001)])
    whole = line()
    wanted = fine_tune(whole, used, either, said, name="a")
    with pytest.raises(InterruptionError):
        fine_tune(line(), used, either, said, name="a", checkpoints=tmp_path, before_epoch=interrupting(2))
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"epoch-2", "state"}
    resumed, epochs = line(), []
    state = fine_tune(
        resumed,
        used,
        either,
        said,
        name="a",
        checkpoints=tmp_path,
        before_epoch=lambda index: bool(epochs.append(index)),
    )
    assert epochs == [0, 2, 3]
    assert same_weights(resumed, whole)
    figures = [[fact.figures["loss"] for fact in one.epochs] for one in (state, wanted)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-5)


def test_interrupted_training_remembers_the_best_epoch(task, data, tmp_path):
    rates = [phase("constant", 2, 0.1), phase("constant", 5, 2.0)]
    said = spec(epochs=7, learning_rate=rates, early_stopping={"patience": 2})
    whole, resumed = line(), line()
    fine_tune(whole, task.TASK, data, said, name="a")
    with pytest.raises(InterruptionError):
        fine_tune(line(), task.TASK, data, said, name="a", checkpoints=tmp_path, before_epoch=interrupting(3))
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"epoch-3", "best-2", "state"}
    state = fine_tune(resumed, task.TASK, data, said, name="a", checkpoints=tmp_path)
    assert (state.best_epoch, len(state.epochs)) == (2, 4)
    assert same_weights(resumed, whole)
    # All is done: another run trains nothing, and has the same weights.
    again = line()
    assert fine_tune(again, task.TASK, data, said, name="a", checkpoints=tmp_path) == state
    assert same_weights(again, whole)


def normalized():
    tf.keras.utils.set_random_seed(23)
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [layers.Input((3,), name="x"), layers.Dense(5), layers.BatchNormalization(name="norm"), layers.Dense(1)]
    )


def freezing(model, at, stops=None):
    """Freezes the normalization from an epoch on; interrupts the training before another."""
    norm = model.get_layer("norm")

    def before_epoch(index):
        if index == stops:
            raise InterruptionError
        if index < at or not norm.trainable:
            return False
        norm.trainable = False
        return True

    return before_epoch


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_no_longer_trains_from_an_epoch_on_stays_through_an_interruption(task, data, tmp_path, at):
    said = spec(epochs=4, batch_size=16, learning_rate=0.01)
    whole, stopped, resumed, first = normalized(), normalized(), normalized(), normalized()
    fine_tune(whole, task.ADAM, data, said, name="a", before_epoch=freezing(whole, at))
    with pytest.raises(InterruptionError):
        fine_tune(
            stopped, task.ADAM, data, said, name="a", checkpoints=tmp_path, before_epoch=freezing(stopped, at, stops=2)
        )
    fine_tune(resumed, task.ADAM, data, said, name="a", checkpoints=tmp_path, before_epoch=freezing(resumed, at))
    assert same_weights(resumed, whole)
    if at:
        fine_tune(first, task.ADAM, data, spec(epochs=at, batch_size=16, learning_rate=0.01), name="a")
    for part in ("moving_mean", "moving_variance", "gamma", "beta"):
        held = [getattr(model.get_layer("norm"), part).numpy() for model in (whole, first)]
        np.testing.assert_allclose(*held, rtol=1e-5, atol=1e-7)


KILLED = """
import sys
sys.path[:0] = [{folder!r}]
import components
import os, signal
import tensorflow as tf
from pathlib import Path
from components.data.examples import ExampleDecoder
from components.fine_tune.loop import fine_tune
from components.data.training_data import load_training_data
from components.spec.steps.fine_tuning import FineTuning
import fine_tuned_task

class Dies(tf.keras.callbacks.Callback):
    steps = 0
    def on_train_batch_end(self, batch, logs=None):
        Dies.steps += 1
        if Dies.steps == 10:
            os.kill(os.getpid(), signal.SIGKILL)

data = load_training_data(ExampleDecoder("fine_tuned_task:TASK"), {files!r}, "y", "a")
model = tf.keras.models.load_model({model!r})
fit = model.fit
model.fit = lambda *args, callbacks, **more: fit(*args, callbacks=[*callbacks, Dies()], **more)
spec = FineTuning.model_validate_json({spec!r})
fine_tune(model, fine_tuned_task.ADAM, data, spec, name="a", checkpoints=Path({checkpoints!r}))
"""


def test_training_that_was_killed_within_an_epoch_continues_to_the_same_weights(task, data, folder, tmp_path):
    # Four steps an epoch: it dies in the third.
    said = spec(epochs=4, batch_size=16, learning_rate=0.03)
    whole = line()
    fine_tune(whole, task.ADAM, data, said, name="a")
    line().save(tmp_path / "line.keras")
    program = textwrap.dedent(KILLED).format(
        folder=str(folder),
        files=list(data.files),
        model=str(tmp_path / "line.keras"),
        spec=said.model_dump_json(),
        checkpoints=str(tmp_path / "kept"),
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == -signal.SIGKILL, ran.stderr[-2000:]
    assert {path.name.partition(".")[0] for path in (tmp_path / "kept").iterdir()} == {"epoch-2", "state"}
    resumed = line()
    state = fine_tune(resumed, task.ADAM, data, said, name="a", checkpoints=tmp_path / "kept")
    assert len(state.epochs) == 4
    assert same_weights(resumed, whole)


def test_same_seed_gives_the_same_weights_with_draws_and_another_others(task, data):
    made = []
    for seed in (3, 3, 4):
        model = deep()
        fine_tune(model, task.ADAM, data, spec(epochs=2, batch_size=16, seed=seed, learning_rate=0.01), name="a")
        made.append(model)
    assert same_weights(made[0], made[1])
    assert not same_weights(made[0], made[2])


def test_checkpoints_of_the_same_question_are_found_again_and_removed(tmp_path):
    first = checkpoint_folder(tmp_path / "node" / "model" / "7", ["spec", "task"])
    assert first.parent == tmp_path / "node" / "checkpoints"
    assert first == checkpoint_folder(tmp_path / "node" / "model" / "8", ["spec", "task"])
    assert first != checkpoint_folder(tmp_path / "node" / "model" / "7", ["spec", "tas", "k"])
    first.mkdir(parents=True)
    (first / "state.json").write_text("{}")
    remove_checkpoints(first)
    assert not first.exists()
    remove_checkpoints(first)
