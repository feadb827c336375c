"""Finds what can't be converted in a recipe's scheme, before anything is trained. `limits` has the table."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from components.core.errors import ConversionError, ModelError, some_of, summary_line
from components.model.keras_model import input_specs
from components.spec.recipe import Recipe
from components.spec.scheme import Scheme, StaticScheme
from components.spec.schemes.limits import DYNAMIC_MINIMUM_ELEMENTS, OPERATORS, WITHOUT_OPERATOR, OperatorLimit

_LOG = logging.getLogger(__name__)

# Results that depend only on sizes are constants in a file with fixed shapes.
_OF_SIZES = ("Shape", "ShapeN", "Size", "Rank")
# Operations that become operators with kernels in all formats. A model of nothing else needn't be converted to know.
_PLAIN = frozenset(
    {
        *("AddV2", "AvgPool", "BatchMatMulV2", "BiasAdd", "ConcatV2", "Const", "Conv2D", "Conv2DBackpropInput"),
        *("DepthwiseConv2dNative", "ExpandDims", "FusedBatchNormV3", "GatherV2", "Identity", "LeakyRelu", "MatMul"),
        *("Max", "MaxPool", "Maximum", "Mean", "Minimum", "Mul", "NoOp", "Pack", "Pad", "Placeholder"),
        *("ReadVariableOp", "Relu", "Reshape", "ResizeBilinear", "ResizeNearestNeighbor", "ResourceGather"),
        *("Rsqrt", "Shape", "Sigmoid", "Softmax", "Squeeze", "StridedSlice", "Sub", "Sum", "Tanh", "Transpose"),
    }
)


class ConvertedModel:
    """What decides whether a Keras model can be converted, each computed once for all recipes.

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

        return tf.function(self._run, autograph=False).get_concrete_function(*self._specs(1))

    @cached_property
    def _exported(self) -> Any:
        # As in the SavedModel: an open batch leaves some operations that constants replace otherwise.
        import tensorflow as tf

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
        """The operators that cast values that depend on the inputs and are not float32 to float.

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
        """Whether the model casts in other places than its integer or boolean inputs and outputs."""
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

        The converter computes everything that does not depend on the inputs, which makes further constants.
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

    @cached_property
    def graph(self) -> Any:
        """The main graph of the float file (`components.convert.aeq.layers.Graph`); None if there is no such file."""
        import tensorflow as tf

        from components.convert.aeq.layers import read_graph
        from components.convert.tensorflow.converter import convert_float

        try:
            fixed = tf.function(self._exported, autograph=False).get_concrete_function(*self._specs(1))
            with _native_silence():
                return read_graph(convert_float(fixed, self._model))
        except ConversionError as error:
            # Each conversion of the run reports it.
            _LOG.info("The model can't be converted to float, so its operators are unknown: %s", summary_line(error))
            return None


def conversion_refusals(recipe: Recipe, converted: ConvertedModel, *, recurrent: bool) -> Iterator[ModelError]:
    """Yield every reason why no file of the recipe's scheme can be made from the model.

    Args:
        recipe: The recipe.
        converted: The model.
        recurrent: Whether the model has recurrent layers.
    """
    scheme = recipe.scheme
    # The converter computes some in another way: Erf is part of the operator GELU.
    lacking = sorted(converted.operations & WITHOUT_OPERATOR.keys())
    if lacking and converted.graph is None:
        yield without_operator(lacking)
    if _takes_no_floats(scheme) and converted.casts:
        yield _casts_to_float(converted.casts)
    if scheme.is_dynamic_range and (largest := converted.largest_weight) < DYNAMIC_MINIMUM_ELEMENTS:
        yield ModelError(
            "no weight is large enough for dynamic range, so nothing would be quantized",
            where="scheme",
            bound=f"a weight of at least {DYNAMIC_MINIMUM_ELEMENTS:,} elements",
            measured=f"{largest:,.0f} in the largest",
            remedy="remove the recipe, or use float16 or static_wi8_ai8 if the device profiles have it",
        )
    # Training and lowering rewrite the model; the previews of both have checked its layers.
    if isinstance(scheme, StaticScheme) and recipe.trained is None and not recurrent:
        if scheme.backend == "tensorflow":
            yield from _operators(scheme, converted)
        elif converted.graph is not None and (error := not_injected(scheme, converted.graph)):
            yield error


def without_operator(lacking: list[str]) -> ModelError:
    """Return the error for operations of TensorFlow that no operator of TensorFlow Lite computes."""
    return ModelError(
        f"TensorFlow Lite has no operator for {some_of(lacking)}",
        where="scheme",
        bound="operations that TensorFlow Lite has",
        measured=some_of(lacking),
        remedy="; ".join(dict.fromkeys(WITHOUT_OPERATOR[name] for name in lacking)),
    )


def _operators(scheme: StaticScheme, converted: ConvertedModel) -> Iterator[ModelError]:
    """Yield errors for the operators that the converter can't compute with the scheme's activations."""
    graph = None if converted.operations <= _PLAIN else converted.graph
    if graph is None:
        return
    bits = scheme.activation_bits
    failing, not_run = rows_without_kernel(graph, bits)
    # A cast to float is reported with its layer and its types. At the border, the file keeps it.
    failing = [row for row in failing if row.name != "CAST" or (converted.casts_inside and not converted.casts)]
    if failing and not scheme.float_fallback:
        yield _without_kernel(failing, bits, "add `float_fallback: true`")
    if not_run:
        yield _without_kernel(not_run, bits, "use float16")


def rows_without_kernel(graph: Any, bits: int) -> tuple[list[OperatorLimit], list[OperatorLimit]]:
    """List the rows that a float file holds: those that stay float, and those that have no kernel in the runtime.

    Args:
        graph: The main graph of the file, a `components.convert.aeq.layers.Graph`.
        bits: Bits of activations, 8 or 16.
    """
    rows = [row for kind in sorted(graph.kinds) if (row := OPERATORS.get(kind)) is not None]
    floats = {operator.kind for operator in graph.operators}
    if bits == 8:
        return [row for row in rows if row.float_in_8_bits and row.name in floats], []
    return (
        [row for row in rows if row.refused_in_16_bits],
        [row for row in rows if row.not_run_in_16_bits and row.name in floats],
    )


def _without_kernel(rows: list[OperatorLimit], bits: int, otherwise: str) -> ModelError:
    names = some_of([row.name for row in rows])
    eight = ["use static_wi8_ai8"] if bits == 16 and not any(row.float_in_8_bits for row in rows) else []
    return ModelError(
        f"there is no kernel of {names} for {bits}-bit activations",
        where="scheme",
        bound=f"operators with a kernel for {bits}-bit activations",
        measured=names,
        remedy=", or ".join([*dict.fromkeys(row.remedy for row in rows), *eight, otherwise]),
    )


def not_injected(scheme: StaticScheme, graph: Any) -> ModelError | None:
    """Return the error for operators that the second back-end can't quantize, which knows them itself."""
    from components.convert.aeq.quantize import refuse_what_stays_float

    try:
        refuse_what_stays_float(graph, scheme)
    except ConversionError as error:
        return ModelError(error.what, where="scheme", bound=error.bound, measured=error.measured, remedy=error.remedy)
    return None


def _casts_to_float(casts: list[Any]) -> ModelError:
    """Return the error for casts to float inside a model in a scheme of integers.

    TensorFlow's converter has no integer CAST. After a cast of the mask of `mask_zero`, a float tensor remains, as does
    an input of `float64`.
    """
    wide = all(cast.inputs[0].dtype.is_floating for cast in casts)
    masked = any(cast.inputs[0].dtype.name == "bool" for cast in casts)
    return ModelError(
        f"the model {'takes float64' if wide else 'casts integers or booleans to floats internally'}, which an "
        "integer-only file can't contain",
        where=some_of((cast.name for cast in casts), 3),
        bound="inputs of float32, or of integers and booleans that are cast first"
        + (", and no masks" if masked else ""),
        measured=", ".join(sorted({f"{cast.inputs[0].dtype.name} to {cast.outputs[0].dtype.name}" for cast in casts})),
        remedy=("remove Masking layers and mask_zero and train on padded sequences as they are; " if masked else "")
        + "give the model an Input of float32 and cast in the task's decode, or add `float_fallback: true`",
    )


@contextmanager
def _native_silence() -> Iterator[None]:
    """Discard what native code writes to stderr: the converter warns about its own options."""
    before, silent = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(silent)


def _takes_no_floats(scheme: Scheme) -> bool:
    return scheme.is_static and not getattr(scheme, "float_fallback", False)


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
