"""A ready-made task for models with one input and one output: classification of two or more classes, and regression."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import tensorflow as tf

Stored = Literal["uint8", "int16", "int64", "float32"]
Objective = Literal["classes", "two_classes", "values"]
# Features of these types hold bytes, row by row.
_RAW = frozenset({"uint8", "int16"})
_LOSSES = {
    "classes": ("SparseCategoricalCrossentropy", "SparseCategoricalAccuracy"),
    "two_classes": ("BinaryCrossentropy", "BinaryAccuracy"),
    "values": ("MeanSquaredError", "MeanAbsoluteError"),
}


@dataclass(frozen=True)
class OneInputTask:
    """Turns one feature, or columns of numbers, into the input of a model. Recipes can fine-tune the model.

    Attributes:
        features: Feature name -> type of its values. Several features are columns of numbers, in the order of the
            model's input.
        shape: Shape of one example of the input.
        objective: `classes` if the model has one output for each class, `two_classes` if it has one output for both,
            or `values` for regression.
        label: Feature of the label.
        label_type: Type of its values.
        scale, offset: The input is `value * scale + offset`. With tuples, each column has its own.
        logits: Whether the outputs are logits instead of probabilities.
        dtype: Type of the input.
        learning_rate: The rate of Adam, unless a step sets another.
    """

    features: Mapping[str, Stored]
    shape: tuple[int, ...]
    objective: Objective
    label: str = "label"
    label_type: Literal["int64", "float32"] = "int64"
    scale: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0
    logits: bool = False
    dtype: str = "float32"
    learning_rate: float = 1e-3

    def feature_spec(self) -> Mapping[str, Any]:
        """The features, and the label."""
        import tensorflow as tf

        size = math.prod(self.shape) // len(self.features)
        raw = tf.io.FixedLenFeature([], tf.string)
        declared = {
            name: raw if stored in _RAW else tf.io.FixedLenFeature([size], tf.as_dtype(stored))
            for name, stored in self.features.items()
        }
        return {**declared, self.label: tf.io.FixedLenFeature([], tf.as_dtype(self.label_type))}

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Read, scale, and shape a batch of inputs."""
        import tensorflow as tf

        size = math.prod(self.shape)
        columns = [
            tf.io.decode_raw(features[name], stored, fixed_length=size * tf.as_dtype(stored).size)
            if stored in _RAW
            else features[name]
            for name, stored in self.features.items()
        ]
        values = tf.concat([tf.cast(column, tf.float32) for column in columns], axis=1)
        return tf.cast(tf.reshape(values * self.scale + self.offset, [-1, *self.shape]), self.dtype)

    def compile(self, model: Any) -> None:
        """Compile with Adam, and with the loss of the objective."""
        import tensorflow as tf

        loss, metric = _LOSSES[self.objective]
        options = {} if self.objective == "values" else {"from_logits": self.logits}
        optimizer = tf.keras.optimizers.Adam(self.learning_rate)
        model.compile(optimizer, getattr(tf.keras.losses, loss)(**options), [getattr(tf.keras.metrics, metric)()])
