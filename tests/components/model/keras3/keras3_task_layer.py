"""A layer of a task's own, for whichever Keras the process uses."""

from typing import Any

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("tests")
class Scaled(tf.keras.layers.Layer):
    def __init__(self, factor: float, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor
        self.inner = tf.keras.layers.Dense(4)

    def build(self, shape: Any) -> None:
        self.offset = self.add_weight(name="offset", shape=[4], trainable=True)
        self.inner.build(shape)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.inner(inputs) * self.factor + self.offset

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}
