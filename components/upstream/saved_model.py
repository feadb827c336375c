"""TensorFlow's functions in SavedModels: a call that ignores the shapes that a function was traced with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf


def call_with_other_shapes(signature: Any, inputs: Mapping[str, tf.Tensor]) -> Sequence[tf.Tensor]:
    """Call a loaded signature with tensors of other shapes than its own, which Python would refuse.

    Args:
        signature: A signature of a loaded SavedModel.
        inputs: Its inputs by name.

    Returns:
        Its outputs, in the order of `signature.outputs`.
    """
    # The arguments of a signature are in the order of their names, and what it captures comes after them.
    arguments = [inputs[name] for name in sorted(inputs)]
    types = [tensor.dtype for tensor in signature.outputs]
    found = tf.raw_ops.StatefulPartitionedCall(args=[*arguments, *signature.captured_inputs], Tout=types, f=signature)
    return list(found)
