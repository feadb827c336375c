"""TensorFlow Lite's interpreter with its experimental arguments. Importing this module does not import TensorFlow."""

from __future__ import annotations

from typing import Any


def interpreter(content: bytes, *, keeps_all_tensors: bool = False, delegates: bool = False) -> Any:
    """An interpreter of a TFLite file on one thread; its tensors are not allocated yet.

    Args:
        content: The file.
        keeps_all_tensors: Whether tensors inside the graph can be read after a run. A delegate keeps none of what it
            computes inside.
        delegates: Whether the default delegate (XNNPACK) may take operators.
    """
    import tensorflow as tf

    resolvers = tf.lite.experimental.OpResolverType
    return tf.lite.Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=keeps_all_tensors,
        experimental_op_resolver_type=resolvers.AUTO if delegates else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
