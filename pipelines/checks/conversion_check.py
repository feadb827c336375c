"""Finds what can't be converted in a recipe's scheme, before anything is trained. `limits` has the table."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from components.core.errors import ConversionError, ModelError, some_of
from components.spec.recipe import Recipe
from components.spec.scheme import Scheme, StaticScheme
from components.spec.schemes.limits import DYNAMIC_MINIMUM_ELEMENTS, OPERATORS, WITHOUT_OPERATOR, OperatorLimit
from pipelines.checks.converted.model import ConvertedModel

# Operations that become operators with kernels in all formats. A model with only these need not be converted for the
# check.
_PLAIN = frozenset(
    {
        *("AddV2", "AvgPool", "BatchMatMulV2", "BiasAdd", "ConcatV2", "Const", "Conv2D", "Conv2DBackpropInput"),
        *("DepthwiseConv2dNative", "ExpandDims", "FusedBatchNormV3", "GatherV2", "Identity", "LeakyRelu", "MatMul"),
        *("Max", "MaxPool", "Maximum", "Mean", "Minimum", "Mul", "NoOp", "Pack", "Pad", "Placeholder"),
        *("ReadVariableOp", "Relu", "Reshape", "ResizeBilinear", "ResizeNearestNeighbor", "ResourceGather"),
        *("Rsqrt", "Shape", "Sigmoid", "Softmax", "Squeeze", "StridedSlice", "Sub", "Sum", "Tanh", "Transpose"),
    }
)


def conversion_refusals(recipe: Recipe, converted: ConvertedModel, *, recurrent: bool) -> Iterator[ModelError]:
    """Yield every reason why the model can't be converted in the recipe's scheme.

    Args:
        recipe: The recipe.
        converted: The model.
        recurrent: Whether the model has recurrent layers.
    """
    scheme = recipe.scheme
    # Training and lowering rewrite the model, and can replace what the converter refuses, but nothing in the table.
    listed = not converted.operations.isdisjoint(WITHOUT_OPERATOR)
    rewritten = recipe.trained is not None or (recurrent and (scheme.is_static or recipe.recurrent is not None))
    if (listed or not (rewritten or is_plain(converted.operations))) and converted.failure is not None:
        yield not_converted(converted.failure)
    if _takes_no_floats(scheme) and converted.casts:
        yield _casts_to_float(converted.casts)
    if _takes_no_floats(scheme) and scheme.activation_bits == 8 and converted.joined_casts:
        yield _joined_casts(converted.joined_casts)
    if isinstance(scheme, StaticScheme) and _wants_all_inputs(scheme) and converted.unread_inputs:
        yield _unread_inputs(converted.unread_inputs)
    if scheme.is_dynamic_range and (largest := converted.largest_weight) < DYNAMIC_MINIMUM_ELEMENTS:
        yield no_large_weight(largest)
    # Training and lowering rewrite the model; the previews of both have checked its layers.
    if isinstance(scheme, StaticScheme) and recipe.trained is None and not recurrent:
        if scheme.backend == "tensorflow":
            yield from _operators(scheme, converted)
        elif converted.graph is not None and (error := not_injected(scheme, converted.graph)):
            yield error


def is_plain(operations: Collection[str]) -> bool:
    """Whether a model has only operations that become operators with kernels in all formats."""
    return _PLAIN.issuperset(operations)


def no_large_weight(largest: float) -> ModelError:
    """Return the error for a model whose largest weight has too few elements for dynamic range quantization."""
    return ModelError(
        "no weight is large enough for dynamic range, so nothing would be quantized",
        where="scheme",
        bound=f"a weight of at least {DYNAMIC_MINIMUM_ELEMENTS:,} elements",
        measured=f"{largest:,.0f} in the largest",
        remedy="remove the recipe, or use float16 or static_wi8_ai8",
    )


def not_converted(failure: ConversionError) -> ModelError:
    """Return the error for a model that the converter refuses even in float, which rules out every format."""
    return ModelError(
        failure.what, where="scheme", bound=failure.bound, measured=failure.measured, remedy=failure.remedy
    )


def unusual_operators(converted: ConvertedModel) -> frozenset[str]:
    """The operators of a model's float file; empty if the model has only plain ones, or if they are unknown."""
    if converted.operations <= _PLAIN or converted.graph is None:
        return frozenset()
    return frozenset(converted.graph.kinds)


def _operators(scheme: StaticScheme, converted: ConvertedModel) -> Iterator[ModelError]:
    """Yield errors for the operators that the converter can't compute with the scheme's activations."""
    plain = _PLAIN if scheme.activation_bits == 8 else _PLAIN - {"BatchMatMulV2"}
    graph = None if converted.operations <= plain else converted.graph
    if graph is not None:
        # A cast to float is reported separately, with its layer and types. At inputs and outputs, the file keeps it.
        yield from operators_without_kernel(scheme, graph, casts=converted.casts_inside and not converted.casts)


def operators_without_kernel(scheme: StaticScheme, graph: Any, *, casts: bool) -> Iterator[ModelError]:
    """Yield errors for the operators of a float file that have no kernel for a scheme's activations.

    Args:
        scheme: The scheme.
        graph: The main graph of the file, a `components.convert.aeq.layers.Graph`.
        casts: Whether it casts anywhere other than at its inputs and outputs.
    """
    bits = scheme.activation_bits
    if bits == 16 and (product := _product_of_vectors(graph)):
        yield product
    failing, not_run = rows_without_kernel(graph, bits)
    failing = [row for row in failing if row.name != "CAST" or casts]
    if failing and not scheme.float_fallback:
        yield _without_kernel(failing, bits, "add `float_fallback: true`")
    if not_run:
        yield _without_kernel(not_run, bits, "use float16")


def _product_of_vectors(graph: Any) -> ModelError | None:
    """Return the error for a matrix product of two computed tensors that the converter writes as a dense layer.

    It does so with a product of two vectors. In 16 bits, a dense layer takes only constant weights.
    """
    products = [
        operator
        for operator in graph.operators
        if operator.kind == "FULLY_CONNECTED" and set(operator.inputs[:2]) <= graph.activations.keys()
    ]
    if not products:
        return None
    return ModelError(
        "there is no kernel for a matrix product of two computed vectors with 16-bit activations",
        where="scheme",
        bound="products with constant weights, or of matrices",
        measured=some_of([operator.outputs[0] for operator in products]),
        remedy="write a Dot of vectors as a Multiply and a sum along the last axis, or use static_wi8_ai8",
    )


def rows_without_kernel(graph: Any, bits: int) -> tuple[list[OperatorLimit], list[OperatorLimit]]:
    """List the rows for a float file's operators: those that stay in float, and those without a kernel in the runtime.

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
        f"there is no kernel for {names} with {bits}-bit activations",
        where="scheme",
        bound=f"operators with a kernel for {bits}-bit activations",
        measured=names,
        remedy=", or ".join([*dict.fromkeys(row.remedy for row in rows), *eight, otherwise]),
    )


def not_injected(scheme: StaticScheme, graph: Any) -> ModelError | None:
    """Return the error for operators that the second back-end can't quantize. The back-end itself lists them."""
    from components.convert.aeq.quantize import refuse_what_stays_float

    try:
        refuse_what_stays_float(graph, scheme)
    except ConversionError as error:
        return not_converted(error)
    return None


def _casts_to_float(casts: list[Any]) -> ModelError:
    """Return the error for casts to float inside a model in an integer scheme.

    TensorFlow's converter has no integer CAST. After a cast of the mask of `mask_zero`, a float tensor remains. The
    same happens to a `float64` input.
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


def _joined_casts(casts: list[Any]) -> ModelError:
    """Return the error for inputs that are cast and then concatenated, so that no operator is left to have a range."""
    return ModelError(
        "the model casts an input to floats and concatenates it, and with 8 bits the converter leaves both in float",
        where=some_of((cast.name for cast in casts), 3),
        bound="a layer between the cast and the concatenation, or inputs of float32",
        measured=", ".join(sorted({cast.inputs[0].op.name for cast in casts})),
        remedy="give the model an Input of float32 and cast in the task's decode, or add `float_fallback: true`",
    )


def _unread_inputs(names: Collection[str]) -> ModelError:
    """Return the error for inputs that no operator reads, which stay float because nothing gives them a range."""
    return ModelError(
        "no output depends on an input, and the converter can't quantize such an input",
        where=f"input {some_of(names)}",
        bound="inputs that the outputs depend on",
        measured="an input of float32 that nothing reads",
        remedy="build the model without this input (`keras.Model([the other inputs], outputs)`), and remove it from "
        "the task's decode; or add `float_io: true`",
    )


def _wants_all_inputs(scheme: StaticScheme) -> bool:
    """Whether an input that stays float breaks the scheme's promise, or makes TensorFlow's converter fail."""
    mixed = scheme.float_io or (scheme.float_fallback and scheme.activation_bits == 8)
    return scheme.backend == "tensorflow" and not mixed


def _takes_no_floats(scheme: Scheme) -> bool:
    return scheme.is_static and not getattr(scheme, "float_fallback", False)
