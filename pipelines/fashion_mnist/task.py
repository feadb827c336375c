"""A small convolutional network for 28x28 grayscale images, sized for a microcontroller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

SIDE = 28
CLASSES = 10


class FashionMnist:
    """Decodes examples to images, and builds the float baseline."""

    def feature_spec(self) -> Mapping[str, Any]:
        """Declare raw grayscale bytes, row by row, and the class."""
        return {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Decode images to float32 [batch, 28, 28, 1] from 0 to 1."""
        gray = tf.io.decode_raw(features["image"], tf.uint8, fixed_length=SIDE * SIDE)
        return tf.reshape(tf.cast(gray, tf.float32) / 255.0, [-1, SIDE, SIDE, 1])

    def build_model(self) -> tf.keras.Model:
        """Build three convolutions with batch normalization, about 54,000 weights."""
        layers = tf.keras.layers
        image = layers.Input([SIDE, SIDE, 1], name="image")
        x = _convolution(image, filters=24, size=5, strides=2)
        x = _convolution(x, filters=48, size=3, strides=1)
        x = layers.MaxPooling2D()(x)
        x = _convolution(x, filters=96, size=3, strides=2)
        x = layers.GlobalAveragePooling2D()(x)
        x = layers.Dropout(0.2)(x)
        return tf.keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="probabilities")(x))

    def compile(self, model: tf.keras.Model) -> None:
        """Compile with Adam and cross entropy. The rate falls to 0 over the pipeline file's 10 epochs of 47 steps."""
        rate = tf.keras.optimizers.schedules.CosineDecay(4e-3, decay_steps=10 * 47)
        model.compile(tf.keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", ["accuracy"])


def _convolution(x: tf.Tensor, filters: int, size: int, strides: int) -> tf.Tensor:
    layers = tf.keras.layers
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


TASK = FashionMnist()
