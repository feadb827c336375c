"""The Simple Recurrent Unit as a Keras layer (Lei et al. 2018, arXiv:1709.02755). Imports TensorFlow.

    x~_t = x_t W
    f_t  = sigmoid(x_t W_f + v_f * c_(t-1) + b_f)
    c_t  = f_t * c_(t-1) + (1 - f_t) * x~_t
    r_t  = sigmoid(x_t W_r + v_r * c_(t-1) + b_r)
    h_t  = r_t * c_t + (1 - r_t) * s_t

where `*` is element-wise. The skip `s_t` is `x_t` if it has as many features as the layer has units, and `x_t W_s`
otherwise. No matrix multiplies the state, so all matrix products can be computed for all time steps at once.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_PACKAGE = "edgemill"
# Parts of the kernel, in order. The last one exists only if the skip is projected.
GATES = ("candidate", "forget", "reset", "skip")


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class SRUCell(tf.keras.layers.Layer):
    """One time step.

    Args:
        units: Size of the output and of the state, a positive integer.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1, not {units}")
        self.units = units
        self.state_size = self.output_size = units

    def build(self, input_shape: Any) -> None:
        """Create `kernel` [features, 3 or 4 x units], `state_kernel` [2, units], and `bias` [2, units]."""
        features = int(input_shape[-1])
        self.projects = features != self.units
        width = (4 if self.projects else 3) * self.units
        self.kernel = self.add_weight("kernel", (features, width), initializer="glorot_uniform")
        self.state_kernel = self.add_weight(
            "state_kernel", (2, self.units), initializer=tf.keras.initializers.RandomUniform(-0.5, 0.5)
        )
        self.bias = self.add_weight("bias", (2, self.units), initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: Any, states: Any, training: Any = None) -> tuple[Any, list[Any]]:  # noqa: ARG002
        """From x_t [batch, features] and [c_(t-1)] to h_t and [c_t], all [batch, units]."""
        before = states[0]
        parts = tf.split(tf.matmul(inputs, self.kernel), 4 if self.projects else 3, axis=-1)
        forget = tf.sigmoid(parts[1] + self.state_kernel[0] * before + self.bias[0])
        reset = tf.sigmoid(parts[2] + self.state_kernel[1] * before + self.bias[1])
        after = forget * before + (1.0 - forget) * parts[0]
        skip = parts[3] if self.projects else inputs
        return reset * after + (1.0 - reset) * skip, [after]

    def get_config(self) -> dict[str, Any]:
        """The configuration for `from_config`."""
        return {**super().get_config(), "units": self.units}


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class SRU(tf.keras.layers.RNN):
    """The layer, from [batch, time, features] to [batch, units], or [batch, time, units] with `return_sequences`.

    Args:
        units: Size of the output and of the state.
        return_sequences: Whether to return the outputs of all time steps, or only the last one.
        go_backwards, unroll, name, dtype: See `tf.keras.layers.RNN`.
    """

    def __init__(self, units: int, return_sequences: bool = False, **kwargs: Any) -> None:
        kwargs.pop("cell", None)
        super().__init__(SRUCell(units), return_sequences=return_sequences, **kwargs)

    @property
    def units(self) -> int:
        """Size of the output and of the state."""
        return int(self.cell.units)

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Do nothing: an RNN saves no shape, and loading a model calls its layers, which builds them."""

    def get_config(self) -> dict[str, Any]:
        """The configuration for `from_config`."""
        config = super().get_config()
        config.pop("cell")
        return {**config, "units": self.units}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> SRU:  # noqa: ARG003
        """Create a layer from its configuration."""
        return cls(**config)
