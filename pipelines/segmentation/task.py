"""A small U-Net for 48x48 grayscale scenes: the kind of garment that each pixel belongs to, or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

SIDE = 48
# Background, and the five kinds of garments.
CLASSES = 6


class Segmentation:
    """Decodes scenes and masks, and builds the float baseline."""

    def feature_spec(self) -> Mapping[str, Any]:
        """Declare grayscale bytes and class bytes, row by row, and the number of garments."""
        content = tf.io.FixedLenFeature([], tf.string)
        return {"image": content, "mask": content, "garments": tf.io.FixedLenFeature([], tf.int64)}

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Decode scenes to float32 [batch, 48, 48, 1] from 0 to 1."""
        return tf.cast(_pixels(features["image"])[..., None], tf.float32) / 255.0

    def targets(self, features: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """Decode masks to class indexes, int32 [batch, 48, 48]."""
        return {"classes": tf.cast(_pixels(features["mask"]), tf.int32)}

    def build_model(self) -> tf.keras.Model:
        """Build a U-Net of three scales (Ronneberger et al. 2015, arXiv:1505.04597), about 26,000 weights."""
        layers = tf.keras.layers
        image = layers.Input([SIDE, SIDE, 1], name="image")
        large = _convolution(image, 8)
        middle = _convolution(_convolution(layers.MaxPooling2D()(large), 16), 16)
        small = _convolution(_convolution(layers.MaxPooling2D()(middle), 32), 32)
        x = layers.Conv2DTranspose(16, 2, strides=2, name="up_middle")(small)
        x = _convolution(layers.Concatenate()([middle, x]), 16)
        x = layers.Conv2DTranspose(8, 2, strides=2, name="up_large")(x)
        x = _convolution(layers.Concatenate()([large, x]), 12)
        return tf.keras.Model(image, layers.Conv2D(CLASSES, 1, activation="softmax", name="classes")(x))

    def compile(self, model: tf.keras.Model) -> None:
        """Compile with Adam and the cross entropy of each pixel. The rate falls to 0 over the file's 16 epochs."""
        rate = tf.keras.optimizers.schedules.CosineDecay(5e-3, decay_steps=16 * 50)
        model.compile(tf.keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")


def _pixels(content: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.io.decode_raw(content, tf.uint8, fixed_length=SIDE * SIDE), [-1, SIDE, SIDE])


def _convolution(x: tf.Tensor, filters: int) -> tf.Tensor:
    layers = tf.keras.layers
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


TASK = Segmentation()
