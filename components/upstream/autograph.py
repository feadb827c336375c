"""TensorFlow's AutoGraph: exempts code that it must not rewrite. Imports TensorFlow.

AutoGraph rewrites the Python that `tf.function` traces. TensorFlow exempts `keras` but has no such rule for `tf_keras`,
so in every process the first trained batch rewrites most of Keras, which takes longer than all other tracing together.
Keras itself passes the `call` of layers, losses, and metrics to AutoGraph, no matter which module defines them.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.autograph.core import config, config_lib
from tensorflow.python.autograph.impl import conversion

from components.upstream.keras import trace_gpu_forms_only_to_run

# A decorator for functions that AutoGraph must leave as they are.
do_not_convert: Any = tf.autograph.experimental.do_not_convert

# Modules that call user functions without passing them to AutoGraph: train_step, activations in subclassed
# models, learning-rate schedules and constraints. The functions that they call are rewritten only if these modules are.
# A layer or model that contains no such function is also exempt here.
_CALLERS = (
    "tf_keras.src.engine.training",
    "tf_keras.src.layers",
    "tf_keras.src.optimizers.legacy",
    "tf_keras.src.optimizers.optimizer",
)
# Packages whose code doesn't rely on AutoGraph.
_KNOWN = sys.stdlib_module_names | {"tf_keras", "tensorflow", "tensorflow_model_optimization", "numpy", "components"}
_RULES = (*(config_lib.Convert(name) for name in _CALLERS), config_lib.DoNotConvert("tf_keras"))


def leave_keras_as_it_is() -> None:
    """Exempt tf-keras, except for its calls of user code, from AutoGraph in this process.

    This also prevents it from tracing forms for GPUs if only shapes matter.
    """
    trace_gpu_forms_only_to_run()
    if config.CONVERSION_RULES[: len(_RULES)] != _RULES:
        config.CONVERSION_RULES = (*_RULES, *config.CONVERSION_RULES)
    if conversion.is_allowlisted.__module__ == __name__:
        return
    is_allowlisted, remember = conversion.is_allowlisted, conversion.cache_allowlisted

    def exempt(entity: Any, *args: Any, **kwargs: Any) -> Any:
        if _is_called_on_layer(entity) and not holds_user_code(entity.__self__):
            return True
        return is_allowlisted(entity, *args, **kwargs)

    def remember_functions(entity: Any, options: Any) -> None:
        # AutoGraph remembers a method for all objects of its class, but another layer can contain user code.
        if not _is_called_on_layer(entity):
            remember(entity, options)

    conversion.is_allowlisted, conversion.cache_allowlisted = exempt, remember_functions


def _is_called_on_layer(entity: Any) -> bool:
    """Whether this is a method of Keras, bound to a layer or a model, that can call user code."""
    return (
        isinstance(entity, types.MethodType)
        and isinstance(entity.__self__, tf.keras.layers.Layer)
        and str(entity.__module__).startswith(_CALLERS)
    )


def holds_user_code(layer: Any) -> bool:
    """Whether a layer or model has a user-defined class, or contains a user-defined function or object at any depth."""
    seen: set[int] = set()
    found = [layer]
    while found:
        one = found.pop()
        if id(one) not in seen:
            seen.add(id(one))
            kind = one if isinstance(one, type | types.FunctionType) else type(one)
            if str(kind.__module__).partition(".")[0] not in _KNOWN:
                return True
            found.extend(_held(one))
    return False


def _held(one: Any) -> Iterator[Any]:
    # Decorators keep the function that they call under this name.
    yield getattr(one, "__dict__", {}).get("__wrapped__")
    if isinstance(one, dict):
        yield from one.values()
    elif isinstance(one, list | tuple | set):
        yield from one
    elif isinstance(one, functools.partial):
        yield from (one.func, one.args, one.keywords)
    elif isinstance(one, types.FunctionType):
        # A library function can call a function that it gets as an argument.
        yield from (one.__defaults__, one.__kwdefaults__)
        yield from _closed_over(one)
    elif isinstance(one, types.MethodType):
        yield from (one.__self__, one.__func__)
    elif isinstance(one, tf.Variable):
        yield one.constraint
    elif isinstance(one, tf.Module) or _is_of_keras(one):
        # Calls of a layer lead to the other layers of its model.
        yield from (value for name, value in vars(one).items() if not name.endswith("bound_nodes_value"))


def _closed_over(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # The variable has no value yet.
            continue


def _is_of_keras(one: Any) -> bool:
    """Whether this is an object of Keras or of this project, but not of a model's graph."""
    module = str(type(one).__module__)
    graph = ("tf_keras.src.engine.keras_tensor", "tf_keras.src.engine.node")
    return module.startswith(("tf_keras", "tensorflow_model_optimization", "components")) and not (
        module.startswith(graph) or isinstance(one, types.FunctionType | type) or not hasattr(one, "__dict__")
    )
