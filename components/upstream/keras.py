"""tf-keras: the graph of a functional model, and private attributes of its objects.

Importing this module doesn't import Keras, because every caller already has Keras objects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Literal


def nodes_in_order(model: Any) -> Iterator[Any]:
    """Calls of layers in a functional or Sequential model, each after the calls whose outputs it reads.

    A nested model is a single call. Input layers come first; their nodes have `is_input`.
    """
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from model._nodes_by_depth[depth]


def calls_of(layer: Any) -> list[Any]:
    """The nodes where a layer is called, in any model."""
    return list(layer._inbound_nodes)


def layer_behind(tensor: Any) -> Any:
    """The layer that returns a symbolic tensor."""
    return tensor._keras_history.layer


def argument_behind(tensor: Any) -> Any:
    """The first argument of the call that returned a symbolic tensor, which isn't an input."""
    layer, index, _ = tensor._keras_history
    return layer._inbound_nodes[index].call_args[0]


def layers_that_read(tensor: Any) -> list[Any]:
    """The layers that are called on a symbolic tensor, in any model."""
    nodes = tensor._keras_history.layer._outbound_nodes
    return [node.layer for node in nodes if any(one is tensor for one in node.keras_inputs)]


def readers_of(tensor: Any) -> int:
    """The number of calls, in any model, that read a symbolic tensor."""
    nodes = tensor._keras_history.layer._outbound_nodes
    return sum(any(one is tensor for one in node.keras_inputs) for node in nodes)


def is_masked(tensor: Any) -> bool:
    """Whether a symbolic tensor has a mask. Keras sets the attribute only on tensors that a layer returned."""
    return getattr(tensor, "_keras_mask", None) is not None


def is_graph(layer: Any) -> bool:
    """Whether a layer is a functional or Sequential model, with known layers and calls."""
    import tf_keras

    return isinstance(layer, tf_keras.Model) and bool(layer._is_graph_network)


def is_layer(value: Any) -> bool:
    """Whether a value is a layer or a model."""
    import tf_keras

    return isinstance(value, tf_keras.layers.Layer)


def is_symbolic(value: Any) -> bool:
    """Whether a value is a symbolic tensor, the input or output of a layer."""
    from tf_keras.src.engine.keras_tensor import KerasTensor

    return isinstance(value, KerasTensor)


def asks_for_shapes() -> bool:
    """Whether Keras calls a layer only to get the shapes and types of its outputs, in a graph that it then discards.

    Keras does so with every call on a symbolic tensor, including each layer of each copy of a model.
    """
    import tensorflow as tf

    return str(getattr(tf.compat.v1.get_default_graph(), "name", "")).endswith("_scratch_graph")


def trace_gpu_forms_only_to_run() -> None:
    """Make GRU and LSTM trace their form for GPUs, and its gradient, only in graphs that run.

    Keras also traces it if only shapes matter, which takes most of the time of copying a layer.
    """
    from tf_keras.src.layers.rnn import gru_lstm_utils

    register = gru_lstm_utils.function_register
    if register.__module__ != __name__:

        def in_graphs_that_run(*args: Any, **kwargs: Any) -> Any:
            return None if asks_for_shapes() else register(*args, **kwargs)

        gru_lstm_utils.function_register = in_graphs_that_run


def function_named(name: str) -> Any:
    """The public function of TensorFlow that a `TFOpLambda` names in its configuration (`math.add`)."""
    from tensorflow.python.util.tf_export import get_symbol_from_name

    return get_symbol_from_name(name)


def called_function(layer: Any) -> str | None:
    """The public name of the function that a layer of an operation on tensors calls; None if it has none."""
    return layer.symbol or None


def takes_training(layer: Any) -> bool:
    """Whether the `call` of a layer has an argument `training`."""
    return bool(layer._expects_training_arg)


def attention_projections(layer: Any) -> dict[str, Any]:
    """The dense layers inside a MultiHeadAttention, by name."""
    return {
        "query_dense": layer._query_dense,
        "key_dense": layer._key_dense,
        "value_dense": layer._value_dense,
        "output_dense": layer._output_dense,
    }


def train_single_batches(model: Any) -> None:
    """Make a compiled model train one batch per step, regardless of `compile(steps_per_execution=...)`."""
    # Keras' `compile` creates the variable, but a task's `compile` doesn't have to call it.
    steps = getattr(model, "_steps_per_execution", None)
    if steps is not None:
        steps.assign(1)


def compiled_metrics(model: Any) -> list[Any]:
    """The metrics that were passed to `compile`: names, functions, or objects."""
    import tensorflow as tf

    # A task's `compile` doesn't have to call Keras' `compile`.
    held = getattr(model, "compiled_metrics", None)
    given = (getattr(held, "_user_metrics", None), getattr(held, "_user_weighted_metrics", None))
    return [metric for metric in tf.nest.flatten(given) if metric is not None]


def wrapped_function(metric: Any) -> Callable[[Any, Any], Any]:
    """The function of labels and predictions that a `MeanMetricWrapper` averages, with the metric's options."""
    function, options = metric._fn, dict(metric._fn_kwargs)
    return lambda labels, predictions: function(labels, predictions, **options)


def takes_logits(loss: Any) -> bool | Literal["sigmoid"] | None:
    """The option `from_logits` of a loss; None for losses without it, such as functions.

    The result is `sigmoid` instead of True if the loss applies a sigmoid to each output, regardless of the labels.
    """
    given = getattr(loss, "from_logits", None)
    # Keras' own losses store the options of the function that they wrap.
    given = getattr(loss, "_fn_kwargs", {}).get("from_logits") if given is None else given
    of_each = any(kind.__name__ in ("BinaryCrossentropy", "BinaryFocalCrossentropy") for kind in type(loss).__mro__)
    return "sigmoid" if given and of_each else given


def lambdas_allowed() -> Any:
    """A context in which Keras loads Lambda layers from their configs."""
    from tf_keras.src.saving.serialization_lib import SafeModeScope

    return SafeModeScope(safe_mode=False)


def move_activity_regularizer(layer: Any, other: Any) -> None:
    """Let another layer penalize its outputs as a layer does, and this layer no longer.

    The layer also forgets the penalties of the symbolic calls that built a model.
    """
    if layer is not other and (regularizer := layer._activity_regularizer) is not None:
        other._activity_regularizer, layer._activity_regularizer = regularizer, None
        layer._losses.clear()


def regularized_like(layer: Any, tensor: Any) -> Any:
    """A symbolic tensor whose layer takes over the activity regularizer of the given layer."""
    move_activity_regularizer(layer, layer_behind(tensor))
    return tensor


@contextmanager
def without_metrics() -> Iterator[None]:
    """A context in which layers ignore `add_metric`. Keras would also count what they are served."""
    from tf_keras.layers import Layer

    def ignored(*_: Any, **__: Any) -> None:
        pass

    original = Layer.add_metric
    Layer.add_metric = ignored
    try:
        yield
    finally:
        Layer.add_metric = original


def unregistered_layers() -> dict[str, Any]:
    """The classes of layers that tf-keras saves but doesn't find when it loads."""
    from tf_keras.src.applications.convnext import LayerScale
    from tf_keras.src.layers import SpectralNormalization

    return {"LayerScale": LayerScale, "SpectralNormalization": SpectralNormalization}


def layers_inside(model: Any) -> list[Any]:
    """All layers in a model, at every depth, without the model itself.

    Unlike `submodules`, this doesn't sort what layers keep for each graph, which fails after a recurrent dropout.
    """
    return list(model._flatten_layers(include_self=False))


def run_as_written(model: Any) -> None:
    """Keep TensorFlow in this process from fusing operators if it can't run the fused operators of a model.

    On a CPU, any prediction fails (TensorFlow 2.16) if it fuses a convolution, a batch normalization, and a mish, or a
    layer normalization along several axes.
    """
    for layer in layers_inside(model):
        several = type(layer).__name__ == "LayerNormalization" and not isinstance(layer.axis, int)
        if several or getattr(getattr(layer, "activation", None), "__name__", "") == "mish":
            fuse_nothing()


def runs_as_written(operations: Collection[str]) -> bool:
    """Whether a graph of these kinds of operations may need `run_as_written`: it has a mish, or moments."""
    return "Softplus" in operations or {"SquaredDifference", "Rsqrt"} <= set(operations)


def fuse_nothing() -> None:
    """Keep TensorFlow in this process from fusing operators of the graphs that it runs. Results stay correct."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"remapping": False})


def renamed(layer: Any, name: str) -> None:
    """Give a new name to a layer that isn't used elsewhere. Keras sets names only when layers are created."""
    layer._name = name


def convolve_at_once(layer: Any) -> None:
    """Make a dilated Conv2D compute one operation, which has no gradient on CPUs.

    Keras writes it as three: space to batch, the convolution, and batch to space.
    """
    import tensorflow as tf

    def convolution_op(inputs: Any, kernel: Any) -> Any:
        places = "NHWC" if layer.data_format == "channels_last" else "NCHW"
        padding, options = layer.padding.upper(), {"data_format": places, "dilations": layer.dilation_rate}
        return tf.nn.conv2d(inputs, kernel, layer.strides, padding, **options)

    layer.convolution_op = convolution_op


def own_weights(layer: Any) -> list[Any]:
    """A layer's own variables, without those of nested layers, trainable ones first."""
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def is_keras3(model: Any) -> bool:
    """Whether an object is a model of Keras 3, from the package `keras` instead of `tf_keras`."""
    return any(base.__module__.startswith("keras.src.") for base in type(model).__mro__)
