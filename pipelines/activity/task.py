"""Small recurrent networks for windows of 32 frames, one for each cell type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from edgemill import SRU

STEPS, CHANNELS, CLASSES = 32, 6, 7
UNITS = 96
# Divisors that scale the milli-units of the accelerometer and the gyroscope to about 1.
_SCALES = (1000.0, 1000.0, 1000.0, 2000.0, 2000.0, 2000.0)


class Activity:
    """Decodes examples to windows, and builds the float baseline.

    Args:
        cell: `lstm`, `gru`, or `sru`.
    """

    def __init__(self, cell: str) -> None:
        self._cell = cell

    def feature_spec(self) -> Mapping[str, Any]:
        """Declare raw samples, frame by frame, the exercise, and the person."""
        number = tf.io.FixedLenFeature([], tf.int64)
        return {"motion": tf.io.FixedLenFeature([], tf.string), "label": number, "subject": number}

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Decode windows to float32 [batch, 32, 6], about -3 to 3."""
        samples = tf.io.decode_raw(features["motion"], tf.int16, fixed_length=2 * STEPS * CHANNELS)
        return tf.reshape(tf.cast(samples, tf.float32), [-1, STEPS, CHANNELS]) / tf.constant(_SCALES)

    def build_model(self) -> tf.keras.Model:
        """Build a dense layer for each frame, the recurrent layer, and a softmax over the exercises."""
        layers = tf.keras.layers
        motion = layers.Input([STEPS, CHANNELS], name="motion")
        x = layers.Dense(24, activation="relu", name="frame")(motion)
        kind = {"lstm": layers.LSTM, "gru": layers.GRU, "sru": SRU}[self._cell]
        x = layers.Dropout(0.3)(kind(UNITS, name="memory")(x))
        return tf.keras.Model(motion, layers.Dense(CLASSES, activation="softmax", name="exercise")(x))

    def compile(self, model: tf.keras.Model) -> None:
        """Compile with Adam and cross entropy."""
        model.compile(tf.keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", ["accuracy"])


LSTM = Activity("lstm")
GRU = Activity("gru")
SRU_TASK = Activity("sru")
