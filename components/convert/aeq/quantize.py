"""The ai-edge-quantizer back-end, which quantizes layers of a float TFLite file with injected ranges."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from components.convert.aeq.layers import Graph, Layer, Operator
from components.core.errors import ConversionError, some_of
from components.model.tflite_file import constant_of
from components.spec.scheme import Scheme, StaticScheme
from components.spec.schemes.base import BaseScheme

# Activation -> smallest and largest value, dequantized.
Ranges = Mapping[str, tuple[float, float]]

# Least magnitude of a clipped bias in steps, allowing for float32 rounding.
_MOST = 2**31 - 256
_INTEGERS, _FLOAT = "min_max_uniform_quantize", "no_quantize"


def refuse_what_stays_float(graph: Graph, scheme: StaticScheme) -> None:
    """Raise a ConversionError if the back-end would silently leave operators in float. The message names them."""
    if scheme.float_fallback:
        return
    lacking = sorted({operator.kind for operator in graph.operators} - quantizable(scheme))
    if lacking:
        raise ConversionError(
            f"ranges cannot be injected into {some_of(lacking)}: the back-end would leave them in float",
            where=scheme.kind,
            bound="operators that ai-edge-quantizer can quantize to integers, or `float_fallback: true`",
            measured=some_of([name for one in graph.operators if one.kind in lacking for name in one.outputs]),
            remedy="leave out `calibration_method` and `keep_float`, so that TensorFlow's own converter quantizes the "
            "model, or replace the layer"
            if scheme.backend == "aeq"
            else "replace the layer in the model that the TFLite file was made from, or add `float_fallback: true`",
        )


def quantizable(scheme: StaticScheme) -> frozenset[str]:
    """The operators that the back-end quantizes in a scheme."""
    back_end = _back_end()
    config = _config(scheme, "TENSORWISE")
    return frozenset(kind for kind, operation in back_end.operations.items() if back_end.takes(operation, config))


def quantize_all(content: bytes, scheme: StaticScheme, ranges: Ranges, kept: Iterable[Layer] = ()) -> bytes:
    """Quantize a float file in a static scheme, with the given ranges of activations. The `kept` layers stay in float.

    The same arguments give the same bytes. Inputs, outputs, and the signature keep their names. The weights of a fully
    connected operator have one scale, as in TensorFlow's converter, so recipes with different calibration methods don't
    differ in anything else.

    Raises:
        ConversionError: The back-end fails.
    """
    recipe = [*_integer(".*", "*", scheme), *_integer(".*", "FULLY_CONNECTED", scheme)]
    if scheme.float_io:
        recipe += [_float(".*", "INPUT"), _float(".*", "OUTPUT")]
    recipe += [_float(_scope(operator), operator.kind) for layer in kept for operator in layer.operators]
    return _quantized(content, recipe, ranges, scheme)


def quantize_only(content: bytes, scheme: StaticScheme, ranges: Ranges, layer: Layer) -> bytes:
    """Like `quantize_all`, but quantize only one layer. Everything else stays in float, including inputs and
    outputs."""
    recipe = [rule for one in layer.operators for rule in _integer(_scope(one), one.kind, scheme)]
    return _quantized(content, recipe, ranges, scheme)


# Operators with hybrid kernels: float activations, integer weights. For EMBEDDING_LOOKUP, TensorFlow 2.16 silently
# computes wrong values.
_HYBRID = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def dynamic_range(content: bytes, scheme: Scheme, least: int) -> bytes:
    """Quantize the weights of a float file to 8 bits, for kernels that quantize activations while they run.

    Args:
        content: The float file.
        scheme: A scheme with dynamic range.
        least: Number of elements of the smallest weight to quantize.

    Raises:
        ConversionError: The back-end fails.
    """
    types = _back_end().types
    whole = getattr(scheme, "granularity", "per_channel") == "per_tensor"
    recipe = []
    for kind in _HYBRID:
        granularity = "TENSORWISE" if whole or kind == "FULLY_CONNECTED" else "CHANNELWISE"
        weights = types.TensorQuantizationConfig(
            num_bits=8, symmetric=True, granularity=types.QuantGranularity(granularity)
        )
        config = types.OpQuantizationConfig(
            weight_tensor_config=weights,
            compute_precision=types.ComputePrecision.INTEGER,
            explicit_dequantize=False,
            min_weight_elements=least,
        )
        recipe.append((".*", _back_end().operations[kind], config))
    return _quantized(content, recipe, {}, scheme)


def refuse_clipped_biases(content: bytes, scheme: StaticScheme) -> None:
    """Raise a ConversionError if a bias does not fit in 32 bits. The back-end clips it without a warning."""
    from components.upstream.tflite.objects import schema

    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    types = {schema.TensorType.INT32: np.int32, schema.TensorType.INT64: np.int64}
    for tensor in map(graph.Tensors, range(graph.TensorsLength())):
        scales = tensor.Quantization().ScaleLength() if tensor.Quantization() else 0
        if tensor.Type() not in types or not scales:
            continue
        steps = np.frombuffer(constant_of(model, content, tensor).tobytes(), types[tensor.Type()])
        if (np.abs(steps.astype(float)) >= _MOST).any():
            raise ConversionError(
                f"the bias {tensor.Name().decode()} does not fit in 32 bits (its step is the input's times the "
                "weights')",
                where=scheme.kind,
                bound="at most 2**31 - 1 steps",
                measured="more, and the back-end clipped it",
                remedy="scale the layer's inputs up, or keep the layer in float with `keep_float`",
            )


# A pattern of names, an operation, and its configuration. None leaves the operation in float.
_Rule = tuple[str, str, Any]


class _BackEnd:
    """The parts of ai-edge-quantizer that are used here."""

    def __init__(self) -> None:
        # ai-edge-quantizer uses numpy.typing without importing it. NumPy 1.26 does not import it either.
        import numpy.typing  # noqa: F401
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
        from ai_edge_quantizer.utils import tfl_flatbuffer_utils

        builtins = {code: name for name, code in vars(qtyping.BuiltinOperator).items() if not name.startswith("_")}
        self.quantizer, self.types, self._check = quantizer.Quantizer, qtyping, algorithm_manager
        # Names of TFLite operators -> ai-edge-quantizer's names.
        self.operations: dict[str, Any] = {
            builtins[code]: operation for code, operation in tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME.items()
        }

    def takes(self, operation: Any, config: Any) -> bool:
        """Whether the back-end can quantize an operation with this configuration. Otherwise, it leaves it in float."""
        try:
            self._check.check_op_quantization_config(_INTEGERS, operation, config)
        except ValueError:
            return False
        return True


_back_end = functools.cache(_BackEnd)


def _config(scheme: StaticScheme, granularity: str) -> Any:
    types, bits = _back_end().types, scheme.activation_bits
    return types.OpQuantizationConfig(
        activation_tensor_config=types.TensorQuantizationConfig(num_bits=bits, symmetric=bits == 16),
        weight_tensor_config=types.TensorQuantizationConfig(
            num_bits=8, symmetric=True, granularity=types.QuantGranularity(granularity)
        ),
        compute_precision=types.ComputePrecision.INTEGER,
        explicit_dequantize=False,
    )


def _integer(scope: str, kind: str, scheme: StaticScheme) -> Iterator[_Rule]:
    whole = scheme.granularity == "per_tensor" or kind == "FULLY_CONNECTED"
    config = _config(scheme, "TENSORWISE" if whole else "CHANNELWISE")
    operation = _back_end().operations.get(kind, kind)
    if kind == "*" or _back_end().takes(operation, config):
        yield scope, operation, config


def _float(scope: str, kind: str) -> _Rule:
    return scope, _back_end().operations.get(kind, kind), None


def _scope(operator: Operator) -> str:
    """A pattern that matches only this operator: the back-end searches the names of its outputs."""
    return f"^{re.escape(';'.join(operator.outputs))};$"


def _quantized(content: bytes, recipe: Iterable[_Rule], ranges: Ranges, scheme: BaseScheme) -> bytes:
    from components.convert.compaction import inlined

    back_end = _back_end()
    # The back-end modifies these arrays.
    injected: dict[str, dict[str, npt.NDArray[Any]]] = {
        name: {"min": np.array(low, np.float32), "max": np.array(high, np.float32)}
        for name, (low, high) in ranges.items()
    }
    try:
        quantizer = back_end.quantizer(content)
        for scope, operation, config in recipe:
            algorithm = _FLOAT if config is None else _INTEGERS
            quantizer.update_quantization_recipe(scope, back_end.types.TFLOperationName(operation), config, algorithm)
        made = quantizer.quantize(injected, enable_progress_bar=False, enable_progress_report=False).quantized_model
    except Exception as error:
        # The back-end raises many types: ValueError, RuntimeError, and NumPy's own.
        raise ConversionError(
            f"ai-edge-quantizer refused the model: {' '.join(str(error).split())[:600]}",
            where=scheme.kind,
            remedy="leave out `calibration_method` and `keep_float`, so that TensorFlow's own converter quantizes the "
            "model",
        ) from error
    return inlined(bytes(made))
