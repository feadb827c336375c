"""TensorFlow Model Optimization: base classes of schemes, the wrapper's variables, and centroids. Imports TensorFlow.

The toolkit is not maintained any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapper

__all__ = [
    "QuantizeLayoutTransform",
    "QuantizeRegistry",
    "QuantizeScheme",
    "QuantizeWrapper",
    "freeze",
    "initial_centroids",
    "output_range",
    "quantized_weights",
    "smart_cond",
]


def smart_cond(condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
    """One of two results; decided in Python where the condition is known, and in the graph otherwise."""
    return utils.smart_cond(condition, if_true, if_false)


def freeze(wrapper: Any) -> None:
    """Take the weights that a QuantizeWrapper quantizes out of training; it ignores the layer's `trainable`."""
    wrapper._non_trainable_weights += wrapper._trainable_weights
    wrapper._trainable_weights = []


def quantized_weights(wrapper: Any) -> Iterator[Any]:
    """The variables of the weights that a QuantizeWrapper quantizes.

    The wrapped layer's own attribute holds what the last call computed with.
    """
    yield from (variable for variable, _, _ in wrapper._weight_vars)


def output_range(wrapper: Any) -> dict[str, Any]:
    """The variables of the quantizer of a QuantizeWrapper's output; only for layers whose config has one."""
    held: dict[str, Any] = wrapper._output_quantizer_vars
    return held


def initial_centroids(kind: str, values: npt.NDArray[Any], centroids: int, keeps_zero: bool) -> npt.NDArray[Any]:
    """Where shared values start.

    Args:
        kind: Name of a member of TFMOT's CentroidInitialization.
        values: The weights, flat.
        centroids: Number of values, at most.
        keeps_zero: Whether zero is one of them.
    """
    initializer = CentroidsInitializerFactory.get_centroid_initializer(CentroidInitialization[kind])
    made = initializer(tf.constant(values), centroids, preserve_sparsity=keeps_zero)
    return np.asarray(made.get_cluster_centroids().numpy())
