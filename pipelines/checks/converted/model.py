"""Predicts the result of converting a Keras model, for the checks before the run. Imports TensorFlow at first use."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from components.core.errors import ConversionError, summary_line
from components.model.keras_model import input_specs
from components.upstream.keras import without_metrics

_LOG = logging.getLogger(__name__)

# Operations that move values, and operations that join values of several tensors.
_MOVING = frozenset({"ExpandDims", "Identity", "Reshape", "Squeeze", "StridedSlice", "Transpose"})
_JOINING = frozenset({"ConcatV2", "Pack"})
# Results that depend only on sizes are constants in a file with fixed shapes.
_OF_SIZES = ("Shape", "ShapeN", "Size", "Rank")


class ConvertedModel:
    """Facts that decide whether a Keras model can be converted, each computed once for all recipes.

    Args:
        model: A built functional or Sequential Keras model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def _run(self, *inputs: Any) -> Any:
        return self._model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)

    def _specs(self, batch: int | None) -> list[Any]:
        import tensorflow as tf

        named = input_specs(self._model).items()
        return [tf.TensorSpec([batch or spec.shape[0], *spec.shape[1:]], spec.dtype, name=n) for n, spec in named]

    @cached_property
    def _function(self) -> Any:
        import tensorflow as tf

        with without_metrics():
            return tf.function(self._run, autograph=False).get_concrete_function(*self._specs(1))

    @cached_property
    def _exported(self) -> Any:
        # As in the SavedModel: with an open batch, some operations remain that constants would otherwise replace.
        import tensorflow as tf

        with without_metrics():
            return tf.function(self._run, autograph=False).get_concrete_function(*self._specs(None))

    @cached_property
    def operations(self) -> frozenset[str]:
        """The kinds of TensorFlow operations in the exported graph and in the functions that it calls."""
        graph = self._exported.graph.as_graph_def()
        called = [node for function in graph.library.function for node in function.node_def]
        found = {node.op for node in (*graph.node, *called)}
        # LayerNormalization computes its statistics with this operation, and BatchNormalization doesn't.
        if any(node.op == "FusedBatchNormV3" and node.attr["is_training"].b for node in graph.node):
            found.add("normalization of each example")
        return frozenset(found)

    @cached_property
    def casts(self) -> list[Any]:
        """The operators that cast values to float if the values depend on the inputs and aren't float32.

        Casts of integer inputs are missing: they are folded into the quantization of the input, or stay before it.
        """
        import tensorflow as tf

        graph = self._function.graph
        inputs = {tensor.op.name for tensor in graph.inputs[: len(input_specs(self._model))]}
        # Unused results, such as a mask that no layer reads, aren't in the file.
        return [
            operator
            for operator in _behind(graph.outputs)
            if operator.type == "Cast"
            and operator.outputs[0].dtype.is_floating
            and operator.inputs[0].dtype not in (tf.float32, operator.outputs[0].dtype)
            and any(source.name in inputs for source in _behind(operator.inputs))
            and not self._is_at_the_border(operator)
        ]

    @cached_property
    def joined_casts(self) -> list[Any]:
        """The casts of inputs to floats that a concatenation reads. In 8 bits, the converter leaves both in float."""
        return [
            operator
            for operator in _behind(self._function.graph.outputs)
            if operator.type == "Cast"
            and operator.outputs[0].dtype.is_floating
            and self._is_at_the_border(operator)
            and _is_joined(operator)
        ]

    @cached_property
    def unread_inputs(self) -> tuple[str, ...]:
        """The inputs of float32 that no output depends on. The converter can't quantize them."""
        read = {operator.name for operator in _behind(self._function.graph.outputs)}
        given = zip(input_specs(self._model).items(), self._function.graph.inputs, strict=False)
        return tuple(name for (name, spec), one in given if spec.dtype == "float32" and one.op.name not in read)

    def _is_at_the_border(self, cast: Any) -> bool:
        """Whether an operator casts an input of integers or booleans, or an output to them."""
        graph = self._function.graph
        source = cast.inputs[0].op
        while source.type == "Identity":
            source = source.inputs[0].op
        given = {tensor.op.name for tensor in graph.inputs[: len(input_specs(self._model))]}
        return source.name in given and not cast.inputs[0].dtype.is_floating

    @cached_property
    def casts_inside(self) -> bool:
        """Whether the model casts anywhere other than at its integer or boolean inputs and outputs."""
        graph = self._function.graph
        returned = set()
        for tensor in graph.outputs:
            operator = tensor.op
            while operator.type == "Identity":
                operator = operator.inputs[0].op
            if not tensor.dtype.is_floating:
                returned.add(operator.name)
        casts = [operator for operator in _behind(graph.outputs) if operator.type == "Cast"]
        return not all(cast.name in returned or self._is_at_the_border(cast) for cast in casts)

    @cached_property
    def largest_weight(self) -> float:
        """Number of elements of the largest weight or constant; infinity if the size of one is unknown.

        The converter precomputes everything that does not depend on the inputs, which creates more constants.
        """
        graph = self._function.graph
        varying = {tensor.op.name for tensor in graph.inputs[: len(input_specs(self._model))]}
        sizes = [float(math.prod(weight.shape)) for weight in self._model.weights]
        for operator in graph.get_operations():
            if any(tensor.op.name in varying for tensor in operator.inputs):
                varying.add(operator.name)
            elif operator.name not in varying:
                shapes = [tensor.shape for tensor in operator.outputs if tensor.dtype.is_floating]
                sizes += [math.prod(shape) if shape.is_fully_defined() else math.inf for shape in shapes]
        return max(sizes, default=0.0)

    @property
    def largest_is_constant(self) -> bool:
        """Whether the largest weight is a constant of the model's graph instead of one of the model's weights."""
        return self.largest_weight > max((math.prod(weight.shape) for weight in self._model.weights), default=0)

    @property
    def graph(self) -> Any:
        """The main graph of the float file (`components.convert.aeq.layers.Graph`); None if there is no such file."""
        found = self._float_graph
        return None if isinstance(found, ConversionError) else found

    @property
    def failure(self) -> ConversionError | None:
        """The reason why there is no float file, and so no file in any other format."""
        found = self._float_graph
        return found if isinstance(found, ConversionError) else None

    @cached_property
    def _float_graph(self) -> Any:
        """The main graph of the float file, or why it can't be made."""
        import tensorflow as tf

        from components.convert.aeq.layers import read_graph
        from components.convert.tensorflow.converter import convert_float

        try:
            fixed = tf.function(self._exported, autograph=False).get_concrete_function(*self._specs(1))
            with native_silence():
                return read_graph(convert_float(fixed, self._model))
        except ConversionError as error:
            _LOG.info("The model can't be converted to float, so its operators are unknown: %s", summary_line(error))
            return error


@contextmanager
def native_silence() -> Iterator[None]:
    """Discard what native code writes to stderr: the converter warns about its own options."""
    before, silent = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(silent)


def _behind(tensors: Iterable[Any]) -> list[Any]:
    """List the operators that compute the tensors."""
    found: dict[str, Any] = {}
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        one = waiting.pop()
        if one.name not in found and one.type not in _OF_SIZES:
            found[one.name] = one
            waiting.extend(tensor.op for tensor in one.inputs)
    return list(found.values())


def _is_joined(operator: Any) -> bool:
    """Whether a concatenation reads the result of an operator."""
    readers = [reader for tensor in operator.outputs for reader in tensor.consumers()]
    return any(one.type in _JOINING or (one.type in _MOVING and _is_joined(one)) for one in readers)
