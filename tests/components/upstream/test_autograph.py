import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.autograph.impl import conversion

from components.upstream.autograph import holds_user_code, leave_keras_as_it_is


def halved_if_large(values: tf.Tensor) -> tf.Tensor:
    if tf.reduce_max(tf.abs(values)) > 0.0:
        return values * 0.5
    return values


def halved(values: tf.Tensor) -> tf.Tensor:
    return values * 0.5


class Layer(tf.keras.layers.Layer):
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return halved_if_large(inputs)


class Rate(tf.keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return halved_if_large(tf.constant(0.1))


class Constraint(tf.keras.constraints.Constraint):
    def __call__(self, w: tf.Tensor) -> tf.Tensor:
        return halved_if_large(w)


class Cell(tf.keras.layers.SimpleRNNCell):
    def call(self, inputs: tf.Tensor, states: Any, training: Any = None) -> Any:
        return super().call(halved_if_large(inputs), states, training)


class Loss(tf.keras.losses.Loss):
    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return halved_if_large(tf.square(y_true - y_pred))


class Metric(tf.keras.metrics.Mean):
    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None) -> None:
        super().update_state(halved_if_large(y_pred))


class Model(tf.keras.Model):
    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, y = data
        if tf.reduce_max(x) > 0.0:
            x = x * 0.5
        return super().train_step((x, y))


def test_built_in_code_is_exempt() -> None:
    leave_keras_as_it_is()
    leave_keras_as_it_is()
    exempt = [tf.keras.backend.dot, tf.keras.losses.Loss.__call__, tf.keras.layers.Layer.__call__]
    assert all(conversion.is_allowlisted(function) for function in exempt)
    assert not conversion.is_allowlisted(halved_if_large)


def plain(**options: Any) -> tf.keras.Model:
    x = tf.keras.Input([4, 3])
    hidden = tf.keras.layers.Bidirectional(tf.keras.layers.GRU(2, return_sequences=True))(x)
    model = tf.keras.Model(x, tf.keras.layers.Dense(1, **options)(hidden))
    model.compile("adam", "mse", ["mae"])
    return model


def test_layers_and_models_without_code_of_the_user_are_exempt_one_by_one() -> None:
    leave_keras_as_it_is()
    x, y = np.ones((8, 4, 3), np.float32), np.ones((8, 4, 1), np.float32)
    free = plain()
    free.fit(x, y, verbose=0)
    methods = [free.train_step, *(layer.call for layer in free.layers[1:])]
    assert all(conversion.is_allowlisted(method) for method in methods)
    assert not conversion.is_allowlisted(free.optimizer.apply_gradients)
    held = plain(kernel_constraint=Constraint())
    assert conversion.is_allowlisted(held.layers[1].call)
    assert not conversion.is_allowlisted(held.layers[2].call)
    assert not conversion.is_allowlisted(held.train_step)
    before = held.layers[2].kernel.numpy()
    held.fit(x, y, verbose=0)
    assert np.abs(held.layers[2].kernel.numpy()).max() <= 0.6 * np.abs(before).max()


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ({}, False),
        ({"kernel_constraint": tf.keras.constraints.MaxNorm(1.0)}, False),
        ({"kernel_constraint": Constraint()}, True),
        ({"activation": tf.nn.relu}, False),
        ({"activation": halved}, True),
        ({"activation": Layer()}, True),
        ({"activation": tf.recompute_grad(halved)}, True),
        ({"activation": functools.partial(tf.nn.leaky_relu, alpha=0.1)}, False),
        ({"activation": functools.partial(tf.map_fn, halved)}, True),
        ({"kernel_regularizer": halved}, True),
    ],
)
def test_code_of_the_user_is_found_in_a_layer(options: dict[str, Any], held: bool) -> None:
    layer = tf.keras.layers.Dense(2, **options)
    outer = tf.keras.Sequential([tf.keras.Input([3]), tf.keras.layers.Dense(2), layer])
    assert holds_user_code(layer) == holds_user_code(outer) == held
    assert not holds_user_code(outer.layers[0])


@pytest.mark.parametrize("rate", [Rate(), tf.keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.9)])
@pytest.mark.parametrize("legacy", [False, True])
def test_code_of_the_user_is_found_in_the_optimizer_of_a_model(legacy: bool, rate: Any) -> None:
    optimizers = tf.keras.optimizers.legacy if legacy else tf.keras.optimizers
    model = plain()
    model.compile(optimizers.SGD(rate), "mse")
    assert holds_user_code(model) == isinstance(rate, Rate)


@pytest.mark.parametrize("legacy", [False, True])
def test_conditions_on_tensors_in_code_of_the_user_still_train(legacy: bool) -> None:
    leave_keras_as_it_is()
    x = tf.keras.Input([4, 3])
    hidden = Layer()(x)
    hidden = tf.keras.layers.RNN(Cell(5))(hidden)
    hidden = tf.keras.layers.Dense(4, kernel_constraint=Constraint())(hidden)
    model = Model(x, hidden)
    optimizers = tf.keras.optimizers.legacy if legacy else tf.keras.optimizers
    model.compile(optimizers.SGD(Rate()), loss=Loss(), metrics=[Metric()])
    before = model.get_weights()[-2]
    history = model.fit(np.ones((8, 4, 3), np.float32), np.ones((8, 4), np.float32), verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert np.abs(model.get_weights()[-2]).max() <= 0.6 * np.abs(before).max()
