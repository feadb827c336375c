"""A dense autoencoder for smartwatch windows: a movement that it reconstructs badly is one that it hasn't learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

# 32 frames of 6 channels.
VALUES = 32 * 6


class Anomaly:
    """Decodes examples to windows, and builds the float baseline. Training doesn't use labels."""

    def feature_spec(self) -> Mapping[str, Any]:
        """Declare the samples of a window, frame by frame; whether it is a different exercise; and the person."""
        number = tf.io.FixedLenFeature([], tf.int64)
        return {"motion": tf.io.FixedLenFeature([VALUES], tf.float32), "anomaly": number, "subject": number}

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return windows, float32 [batch, 192], about -3 to 3."""
        return features["motion"]

    def targets(self, features: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """Return the windows themselves: the model learns to reconstruct them."""
        return {"reconstruction": features["motion"]}

    def build_model(self) -> tf.keras.Model:
        """Build an encoder to 12 values and its decoder, about 27,000 weights."""
        layers = tf.keras.layers
        motion = layers.Input([VALUES], name="motion")
        x = layers.Dense(64, activation="relu", name="encode")(motion)
        x = layers.Dense(12, activation="relu", name="code")(x)
        x = layers.Dense(64, activation="relu", name="decode")(x)
        return tf.keras.Model(motion, layers.Dense(VALUES, name="reconstruction")(x))

    def compile(self, model: tf.keras.Model) -> None:
        """Compile with Adam and the mean squared error of the reconstruction."""
        model.compile(tf.keras.optimizers.Adam(2e-3), "mse")


TASK = Anomaly()
