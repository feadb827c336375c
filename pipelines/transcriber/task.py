"""A CRNN that reads garments from left to right, one letter each, from 16x112 grayscale strips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

HEIGHT, WIDTH, MOST = 16, 112, 6
# Top, trousers (pants), dress, shoe, bag.
LETTERS = "tpdsb"
BLANK = len(LETTERS)
PADDING = -1


class Transcriber:
    """Decodes strips and texts, and turns the scores of the letters at each step into a text."""

    def feature_spec(self) -> Mapping[str, Any]:
        """Declare grayscale bytes, row by row; a letter for each garment; and the number of garments."""
        content = tf.io.FixedLenFeature([], tf.string)
        return {"image": content, "text": content, "garments": tf.io.FixedLenFeature([], tf.int64)}

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Decode strips to float32 [batch, 16, 112, 1] from 0 to 1."""
        gray = tf.io.decode_raw(features["image"], tf.uint8, fixed_length=HEIGHT * WIDTH)
        return tf.reshape(tf.cast(gray, tf.float32) / 255.0, [-1, HEIGHT, WIDTH, 1])

    def targets(self, features: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """Turn texts into indexes of letters, int32 [batch, 6], padded with -1."""
        letters = tf.strings.bytes_split(features["text"]).to_tensor("", shape=[None, MOST])
        known = letters[..., None] == tf.constant(list(LETTERS))
        indexes = tf.argmax(known, axis=-1, output_type=tf.int32)
        return {"letters": tf.where(tf.reduce_any(known, axis=-1), indexes, PADDING)}

    def build_model(self) -> tf.keras.Model:
        """Build convolutions to 28 steps, a bidirectional LSTM, and a softmax over letters and blank: 32,000 weights.

        Shi et al. 2015, "An End-to-End Trainable Neural Network for Image-based Sequence Recognition",
        arXiv:1507.05717.
        """
        layers = tf.keras.layers
        image = layers.Input([HEIGHT, WIDTH, 1], name="image")
        x = _convolution(image, filters=16, size=3, strides=2, padding="same")
        x = _convolution(x, filters=32, size=3, strides=2, padding="same")
        # The remaining four rows become one, and each column a step.
        x = _convolution(x, filters=48, size=(4, 1), strides=1, padding="valid")
        x = layers.Reshape([WIDTH // 4, 48], name="steps")(x)
        x = layers.Bidirectional(layers.LSTM(32, return_sequences=True), name="memory")(x)
        return tf.keras.Model(image, layers.Dense(len(LETTERS) + 1, activation="softmax", name="letters")(x))

    def compile(self, model: tf.keras.Model) -> None:
        """Compile with Adam and connectionist temporal classification."""
        rate = tf.keras.optimizers.schedules.CosineDecay(4e-3, decay_steps=25 * 38)
        model.compile(tf.keras.optimizers.Adam(rate, clipnorm=1.0), _ctc_loss)

    def postprocess(self, outputs: dict[str, npt.NDArray[Any]]) -> Mapping[str, Any]:
        """Take the best letter of each step, without repetitions and blanks: `text`, str [N]."""
        return {"text": np.array([_text(best) for best in outputs["letters"].argmax(axis=-1)])}


def _convolution(x: tf.Tensor, filters: int, size: Any, strides: int, padding: str) -> tf.Tensor:
    layers = tf.keras.layers
    x = layers.Conv2D(filters, size, strides=strides, padding=padding, use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def _ctc_loss(letters: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Graves et al. 2006, "Connectionist Temporal Classification", ICML, of padded indexes and probabilities."""
    letters = tf.cast(letters, tf.int32)
    steps = tf.fill([tf.shape(scores)[0]], tf.shape(scores)[1])
    lengths = tf.reduce_sum(tf.cast(letters != PADDING, tf.int32), axis=1)
    logits = tf.math.log(tf.maximum(scores, 1e-6))
    return tf.nn.ctc_loss(tf.maximum(letters, 0), logits, lengths, steps, logits_time_major=False, blank_index=BLANK)


def _text(best: npt.NDArray[np.int64]) -> str:
    starts = np.flatnonzero(np.diff(best, prepend=BLANK))
    return "".join(LETTERS[index] for index in best[starts] if index != BLANK)


TASK = Transcriber()
