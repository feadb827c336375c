"""TensorFlow's functions in SavedModels: their definition, and a call that ignores the shapes of their inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2


def read_proto(folder: Path) -> Any:
    """The definition of a SavedModel, a `SavedModel` message."""
    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())


def call_with_other_shapes(signature: Any, inputs: Mapping[str, tf.Tensor]) -> Sequence[tf.Tensor]:
    """Call a loaded signature with tensors of shapes other than its own, which TensorFlow's Python code would refuse.

    Args:
        signature: A signature of a loaded SavedModel.
        inputs: Its inputs by name.

    Returns:
        Its outputs, in the order of `signature.outputs`.
    """
    # The arguments of a signature are in the order of their names, followed by its captures.
    arguments = [inputs[name] for name in sorted(inputs)]
    types = [tensor.dtype for tensor in signature.outputs]
    found = tf.raw_ops.StatefulPartitionedCall(args=[*arguments, *signature.captured_inputs], Tout=types, f=signature)
    return list(found)
