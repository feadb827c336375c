"""Ranges of fake quantizers: over all replicas, and adjusted for integer kernels. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# The converter widens ranges of at most 1e-6, so that the file would have a different range than training.
_NARROWEST = 2e-6


def batch_range(inputs: Any) -> tuple[Any, Any]:
    """The smallest and largest value of a batch, over all replicas."""
    low, high = tf.reduce_min(inputs), tf.reduce_max(inputs)
    replicas = tf.distribute.get_replica_context()
    if replicas is None or replicas.num_replicas_in_sync == 1:
        return low, high
    gathered = replicas.all_gather(tf.reshape(tf.stack([low, high]), [1, 2]), axis=0)
    return tf.reduce_min(gathered[:, 0]), tf.reduce_max(gathered[:, 1])


def nudged_range(low: Any, high: Any, bits: int, symmetric: bool) -> tuple[Any, Any]:
    """Adjust a range for the kernels: it includes an exactly representable zero, and uses all integers.

    Args:
        low, high: The requested range, float32 scalars.
        bits: 8 or 16.
        symmetric: Whether the zero point is 0.

    Returns:
        low', high' with the scale (high' - low') / (2^bits - 1); at least 2e-6 wide.
    """
    low, high = tf.minimum(low, 0.0), tf.maximum(high, 0.0)
    steps = 2.0**bits - 1
    if symmetric:
        scale = tf.maximum(tf.maximum(-low, high), _NARROWEST / 2.0) / (2.0 ** (bits - 1) - 1)
        return -scale * 2.0 ** (bits - 1), scale * (2.0 ** (bits - 1) - 1)
    scale = tf.maximum(high - low, _NARROWEST) / steps
    below = tf.round(-low / scale)
    return -below * scale, (steps - below) * scale


def summed_over_replicas(values: Any) -> Any:
    """The element-wise sum over all replicas of a distribution strategy."""
    replicas = tf.distribute.get_replica_context()
    if replicas is None or replicas.num_replicas_in_sync == 1:
        return values
    return replicas.all_reduce(tf.distribute.ReduceOp.SUM, values)
