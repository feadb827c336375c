"""TensorFlow's AutoGraph: what it must not rewrite. Imports TensorFlow.

AutoGraph rewrites the Python that `tf.function` traces. TensorFlow exempts `keras` but has no such rule for `tf_keras`,
so in every process the first trained batch rewrites most of Keras, which takes longer than all other tracing together.
Keras itself passes the `call` of layers, losses, and metrics to AutoGraph, whichever module defines them.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.autograph.core import config, config_lib

from components.upstream.keras import trace_gpu_forms_only_to_run

# A decorator for functions that AutoGraph must leave as they are.
do_not_convert: Any = tf.autograph.experimental.do_not_convert

# Modules that call functions of the user without passing them to AutoGraph: train_step, activations in subclassed
# models, learning-rate schedules and constraints. What they call is rewritten only if they are.
_CALLERS = (
    "tf_keras.src.engine.training",
    "tf_keras.src.layers",
    "tf_keras.src.optimizers.legacy",
    "tf_keras.src.optimizers.optimizer",
)
_RULES = (*(config_lib.Convert(name) for name in _CALLERS), config_lib.DoNotConvert("tf_keras"))


def leave_keras_as_it_is() -> None:
    """Exempt tf-keras, except for its calls of user code, from AutoGraph in this process.

    This also keeps it from tracing forms for GPUs where only shapes count.
    """
    trace_gpu_forms_only_to_run()
    if config.CONVERSION_RULES[: len(_RULES)] != _RULES:
        config.CONVERSION_RULES = (*_RULES, *config.CONVERSION_RULES)
