"""TensorFlow Model Optimization: base classes of schemes, the wrapper's variables, and centroids. Imports TensorFlow.

The toolkit is no longer maintained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import CentroidInitialization
from tensorflow_model_optimization.python.core.clustering.keras.clustering_centroids import CentroidsInitializerFactory
from tensorflow_model_optimization.python.core.keras import utils
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layout_transform import (
    QuantizeLayoutTransform,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_registry import QuantizeRegistry
from tensorflow_model_optimization.python.core.quantization.keras.quantize_scheme import QuantizeScheme
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import (
    QuantizeWrapper,
    QuantizeWrapperV2,
)

from components.upstream.keras import move_activity_regularizer

__all__ = [
    "QuantizeLayoutTransform",
    "QuantizeRegistry",
    "QuantizeScheme",
    "QuantizeWrapper",
    "change_outputs",
    "freeze",
    "initial_centroids",
    "output_range",
    "quantized_weights",
    "smart_cond",
    "wrapped",
]


def smart_cond(condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
    """Return one of two results. Python selects it if the condition is constant, otherwise the graph does."""
    return utils.smart_cond(condition, if_true, if_false)


def wrapped(model: Any, configs: Mapping[str, Any]) -> Any:
    """The last step of `quantize_apply`: a model with the same layers, some of which are wrapped.

    Args:
        model: A functional model.
        configs: Name of a layer -> its `QuantizeConfig`. Other layers are not wrapped.
    """

    def clone(layer: Any) -> Any:
        if layer.name not in configs:
            return layer
        made = QuantizeWrapperV2(layer, configs[layer.name], "quant_")
        # The wrapper skips what Keras does around the layer's own `call`.
        move_activity_regularizer(layer, made)
        return made

    return tf.keras.models.clone_model(model, clone_function=clone)


def freeze(wrapper: Any) -> None:
    """Exclude the weights of a QuantizeWrapper from training, because it ignores the layer's `trainable`."""
    wrapper._non_trainable_weights += wrapper._trainable_weights
    wrapper._trainable_weights = []


def change_outputs(wrapper: Any, change: Callable[[Any], Any]) -> None:
    """Make a QuantizeWrapper pass its quantized outputs through a function. This isn't part of its configuration."""
    call = wrapper.call

    def changed(*args: Any, **kwargs: Any) -> Any:
        return change(call(*args, **kwargs))

    wrapper.call = changed


def quantized_weights(wrapper: Any) -> Iterator[Any]:
    """The variables of the weights that a QuantizeWrapper quantizes.

    The wrapped layer's own attribute has the quantized values of the last call instead.
    """
    yield from (variable for variable, _, _ in wrapper._weight_vars)


def output_range(wrapper: Any) -> dict[str, Any]:
    """The variables of a QuantizeWrapper's output quantizer, only for layers whose config has one."""
    return wrapper._output_quantizer_vars


def initial_centroids(kind: str, values: npt.NDArray[Any], centroids: int, keeps_zero: bool) -> npt.NDArray[Any]:
    """The initial shared values of a weight tensor.

    Args:
        kind: Name of a member of TFMOT's CentroidInitialization.
        values: The weights, flattened.
        centroids: Largest number of shared values.
        keeps_zero: Whether zero is one of the shared values.
    """
    initializer = CentroidsInitializerFactory.get_centroid_initializer(CentroidInitialization[kind])
    made = initializer(tf.constant(values), centroids, preserve_sparsity=keeps_zero)
    return np.asarray(made.get_cluster_centroids().numpy())
