from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.autograph.impl import conversion

from components.upstream.autograph import leave_keras_as_it_is


def halved_if_large(values: tf.Tensor) -> tf.Tensor:
    if tf.reduce_max(tf.abs(values)) > 0.0:
        return values * 0.5
    return values


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
