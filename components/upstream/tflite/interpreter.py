"""TensorFlow Lite's interpreter with its experimental arguments. Importing this module doesn't import TensorFlow."""

from __future__ import annotations

from typing import Any


def interpreter(content: bytes, *, keeps_all_tensors: bool = False, delegates: bool = False) -> Any:
    """A single-threaded interpreter of a TFLite file, before its tensors are allocated.

    Args:
        content: The file.
        keeps_all_tensors: Whether tensors inside the graph can be read after a run. Tensors inside a delegate are never
            kept.
        delegates: Whether the default delegate (XNNPACK) can run operators.
    """
    import tensorflow as tf

    resolvers = tf.lite.experimental.OpResolverType
    return tf.lite.Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=keeps_all_tensors,
        experimental_op_resolver_type=resolvers.AUTO if delegates else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
