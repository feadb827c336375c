"""The weight tensors of a Keras model that pruning and clustering work on. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from components.facts.training import WeightFact
from components.spec.steps.layer_patterns import check_fits, chosen, fits
from components.upstream.keras import attention_projections

# Class of a layer -> its weight tensors, each with the axis that is summed over inputs, or None if there isn't one.
_KERNELS: dict[str, tuple[tuple[str, int | None], ...]] = {
    "Dense": (("kernel", 0),),
    "Conv1D": (("kernel", -2),),
    "Conv2D": (("kernel", -2),),
    "Conv3D": (("kernel", -2),),
    "Conv2DTranspose": (("kernel", -1),),
    "Conv1DTranspose": (("kernel", -1),),
    "SeparableConv1D": (("pointwise_kernel", -2),),
    "SeparableConv2D": (("pointwise_kernel", -2),),
    "Embedding": (("embeddings", None),),
    "EinsumDense": (("kernel", None),),
    "LSTM": (("kernel", 0), ("recurrent_kernel", 0)),
    "GRU": (("kernel", 0), ("recurrent_kernel", 0)),
    "SimpleRNN": (("kernel", 0), ("recurrent_kernel", 0)),
    "LSTMCell": (("kernel", 0), ("recurrent_kernel", 0)),
    "GRUCell": (("kernel", 0), ("recurrent_kernel", 0)),
    "SimpleRNNCell": (("kernel", 0), ("recurrent_kernel", 0)),
    "SRU": (("kernel", 0),),
    "SRUCell": (("kernel", 0),),
}
_GATES = {"LSTM": 4, "GRU": 3}
# These layers have few but important weights, so a step changes them only if it names the layer.
_BY_NAME_ONLY = {"DepthwiseConv1D": "depthwise_kernel", "DepthwiseConv2D": "depthwise_kernel"}
_HELD = {"Bidirectional": ("forward_layer", "backward_layer"), "TimeDistributed": ("layer",), "RNN": ("cell",)}


@dataclass(frozen=True)
class WeightTensor:
    """One weight tensor of a model.

    Attributes:
        layer: Full name of its layer, `outer/inner` in nested models.
        kind: Class of the layer.
        weight: Name within the layer: `kernel`, `recurrent_kernel`, `forward_layer/kernel`.
        variable: The variable itself.
        input_axis: The input axis, counted from the front, or None if there isn't one.
        by_name_only: Whether it stays unchanged unless a step names the layer.
        gates: Number of matrices concatenated along its last axis. TFLite stores each separately.
    """

    layer: str
    kind: str
    weight: str
    variable: Any
    input_axis: int | None
    by_name_only: bool = False
    gates: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight tensor."""
        return tuple(int(size) for size in self.variable.shape)

    @property
    def shapes_in_a_file(self) -> tuple[tuple[int, ...], ...]:
        """The shape as one matrix, and per gate. Which one a file has depends on the conversion of the layer."""
        gate = (*self.shape[:-1], self.shape[-1] // self.gates)
        return (self.shape,) if self.gates == 1 else (self.shape, gate)

    @property
    def size(self) -> int:
        """Number of its weights."""
        return int(np.prod(self.shape))

    @property
    def name(self) -> str:
        """The layer's name for messages, with the weight's name if the layer has several."""
        return self.layer if self.weight in {"kernel", "pointwise_kernel"} else f"{self.layer} ({self.weight})"


def named_layers(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The layers of a model with their full names; nested models are replaced by their layers."""
    for layer in model.layers:
        name = f"{prefix}{layer.name}"
        if isinstance(layer, tf.keras.Model):
            yield from named_layers(layer, f"{name}/")
        elif not isinstance(layer, tf.keras.layers.InputLayer):
            yield name, layer


def kernels(model: Any) -> tuple[WeightTensor, ...]:
    """The weight tensors of a built Keras model, each once, in the order of its layers.

    A custom layer of the task lists its weight tensors in `get_prunable_weights`, like TFMOT's `PrunableLayer`.
    """
    found: dict[int, WeightTensor] = {}
    for name, layer in named_layers(model):
        for weight, variable, axis, by_name, gates in _of_layer(layer, ""):
            rank = len(variable.shape)
            kernel = WeightTensor(
                layer=name,
                kind=type(layer).__name__,
                weight=weight,
                variable=variable,
                input_axis=None if axis is None else axis % rank,
                by_name_only=by_name,
                gates=gates,
            )
            found.setdefault(id(variable), kernel)
    return tuple(found.values())


def chosen_kernels(
    model: Any, layers: tuple[str, ...], except_layers: tuple[str, ...], targets: Sequence[tuple[str, ...]]
) -> tuple[WeightTensor, ...]:
    """The weight tensors that a step works on.

    Args:
        model: A built Keras model.
        layers, except_layers: Names or globs from the step's fields `layers` and `except`.
        targets: Names or globs of each of the step's `targets`. They select nothing, but must match a layer.

    Raises:
        SpecError: A name or glob matches no layer.
    """
    own = [(f"targets[{index}].layers", patterns) for index, patterns in enumerate(targets)]
    check_fits([("layers", layers), ("except", except_layers), *own], [name for name, _ in named_layers(model)])
    return tuple(
        kernel
        for kernel in kernels(model)
        if chosen(kernel.layer, layers, except_layers) and (not kernel.by_name_only or fits(kernel.layer, layers))
    )


def weight_fact(
    kernel: WeightTensor, wanted_sparsity: float | None = None, wanted_values: int | None = None
) -> WeightFact:
    """The measured facts of a weight tensor, with the values that its step requests."""
    values = kernel.variable.numpy()
    return WeightFact(
        layer=kernel.layer,
        weight=kernel.weight,
        shape=kernel.shape,
        sparsity=float(np.mean(values == 0)),
        unique_values=len(np.unique(values)),
        wanted_sparsity=wanted_sparsity,
        wanted_values=wanted_values,
    )


def _of_layer(layer: Any, prefix: str) -> Iterator[tuple[str, Any, int | None, bool, int]]:
    kind = type(layer).__name__
    if kind in _KERNELS:
        holder = getattr(layer, "cell", layer)
        for attribute, axis in _KERNELS[kind]:
            yield f"{prefix}{attribute}", getattr(holder, attribute), axis, False, _gates(kind, holder)
    elif kind in _BY_NAME_ONLY:
        yield f"{prefix}{_BY_NAME_ONLY[kind]}", getattr(layer, _BY_NAME_ONLY[kind]), None, True, 1
    elif kind == "MultiHeadAttention":
        for name, projection in attention_projections(layer).items():
            yield f"{prefix}{name}/kernel", projection.kernel, None, False, 1
    elif callable(getattr(layer, "get_prunable_weights", None)):
        for variable in layer.get_prunable_weights():
            yield f"{prefix}{variable.name.rpartition('/')[2].partition(':')[0]}", variable, None, False, 1
    elif kind in _HELD:
        for attribute in _HELD[kind]:
            yield from _of_layer(getattr(layer, attribute), f"{prefix}{attribute}/")
    elif kind == "StackedRNNCells":
        for index, cell in enumerate(layer.cells):
            yield from _of_layer(cell, f"{prefix}{index}/")


def _gates(kind: str, holder: Any) -> int:
    if kind.startswith("SRU"):
        return int(holder.kernel.shape[-1]) // int(holder.units)
    return _GATES.get(kind.removesuffix("Cell"), 1)
