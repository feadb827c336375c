"""Convert a float SavedModel to the bytes of a TFLite file in one scheme. Imports TensorFlow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tensorflow as tf

from components.convert.representative import Representative, by_input_name, no_sample
from components.convert.tensorflow.casts import with_folded_casts
from components.convert.tensorflow.fixes import (
    with_centered_products,
    with_int16_io,
    with_sorted_dequantization,
    with_valid_padding,
)
from components.convert.tensorflow.fused_ranges import KnownRanges, quantize_fused
from components.core.errors import ConversionError, EdgemillError, SpecError
from components.model.saved_model import load_serving, owner_of, refuse_state, with_batch_of_one
from components.spec.scheme import Float32, Scheme, StaticScheme, static_kinds
from components.spec.schemes.limits import WITHOUT_OPERATOR
from components.upstream.tflite.converter import (
    ANY_BITS,
    BATCH_OF_ONE,
    FULLY_CONNECTED_PRODUCTS,
    IGNORES_ZERO_POINTS,
    INT16_OPERATORS,
    NEW_DYNAMIC_RANGE,
    PER_TENSOR,
    SPARSITY,
    set_option,
    with_one_scale_per_dense_layer,
    with_products,
    without_model_hash,
)

# Operators that store trained ranges in a graph.
_FAKE_QUANTIZATION = re.compile(r"FakeQuantWithMinMax|QuantizeAndDequantize")

# Types of floats other than float32, in the converter's messages.
_OTHER_FLOATS = {"float16": "f16", "bfloat16": "bf16", "float64": "f64"}
_FLOAT32 = "compute them in float32: build the model with the policy float32, or cast before these operations"
_REPLACE = "replace these operations in the model, or move them into the task's decode"

# The inputs, two states, two kernels, and biases of an LSTM. A mask would be another input, and the converter doesn't
# fuse such an LSTM.
_FUSIBLE_INPUTS = 6

# Bits of activations -> the operators that a calibrated model may use, and the type of its inputs and outputs.
_STATIC = {8: (tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8), 16: (INT16_OPERATORS, tf.int16)}


def convert(
    saved_model: Path,
    scheme: Scheme,
    representative: Representative | None,
    *,
    sparse: bool = False,
    known: KnownRanges | None = None,
) -> bytes:
    """Convert the signature `serving_default` of a SavedModel, with the batch fixed to 1.

    The same model and the same representative dataset give the same bytes. The file keeps the signature: the
    interpreter's `get_signature_runner()` uses the names of the decoded inputs. An input tensor is named
    `serving_default_<name>:0`.

    Args:
        saved_model: Folder of a SavedModel whose signature takes the model's inputs by name.
        scheme: Numeric format. Static schemes calibrate on `representative`, unless the model has trained ranges.
        representative: Yields one example at a time, as decoded for the float model. Schemes without calibration ignore
            it.
        sparse: Whether to sparse-encode weights with many zeros. The converter chooses the blocks.
        known: Ranges that override measured ones in a model with fused LSTMs.

    Raises:
        SpecError: A static scheme has neither a representative dataset nor trained ranges, 4-bit weights have no
            trained ranges, or a model with trained ranges has a scheme that is not static.
        ModelError: The model keeps state, has an open dimension other than the batch, or lacks the signature.
        DataError: The representative dataset is empty, lacks an input, or cannot be decoded.
        ConversionError: TensorFlow Lite refuses the model in this scheme. The message names operators.
    """
    model, signature = load_serving(saved_model)
    trained = _holds_trained_ranges(signature)
    _check_ranges(scheme, trained, representative)
    specs = signature.structured_input_signature[1]
    refuse_state(signature, str(saved_model))
    fixed = {name: with_batch_of_one(name, specs[name], str(saved_model)) for name in sorted(specs)}
    serve = tf.function(signature, autograph=False)
    # On a fused LSTM, the float16 quantizer never terminates and uses all memory (tensorflow/model-optimization#1091).
    # Its predecessor terminates, but its output order varies.
    predecessor = scheme.weight_bits == 16 and _has_fusible_lstm(signature)

    def made(products: bool) -> bytes:
        concrete = serve.get_concrete_function(**fixed)
        # The converter saves the owner of the function.
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], owner_of(concrete, model))
        # Loops inside the loaded functions still have an open batch size. The signature above makes it 1.
        set_option(converter, BATCH_OF_ONE, True)
        with_one_scale_per_dense_layer(converter)
        _configure(converter, scheme, trained)
        if scheme.is_static and scheme.activation_bits == 16 and _casts_at_the_border(signature):
            # The converter has no integer CAST. Other operators that stay in float break the scheme's promise.
            converter.target_spec.supported_ops = [INT16_OPERATORS, tf.lite.OpsSet.TFLITE_BUILTINS]
        if sparse:
            converter.optimizations = [*converter.optimizations, SPARSITY]
        if scheme.is_static and not trained and representative is not None:
            samples = representative
            types = {name: spec.dtype.as_numpy_dtype for name, spec in fixed.items()}
            converter.representative_dataset = lambda: (
                {name: values.astype(types[name], copy=False) for name, values in sample.items()}
                for sample in by_input_name(samples(), list(fixed))
            )
            if scheme.activation_bits == 8 and _has_fusible_lstm(signature):
                quantize_fused(converter, known or KnownRanges())
        set_option(converter, NEW_DYNAMIC_RANGE, not predecessor)
        set_option(converter, FULLY_CONNECTED_PRODUCTS, products)
        return bytes(converter.convert())

    try:
        content = with_valid_padding(without_model_hash(with_products(made)))
        if trained and isinstance(scheme, StaticScheme) and scheme.activation_bits == 16:
            content = with_int16_io(content, scheme.float_io)
        if scheme.is_static and scheme.activation_bits == 8:
            content = with_folded_casts(with_centered_products(content) if IGNORES_ZERO_POINTS else content)
        return with_sorted_dequantization(content) if predecessor else content
    except EdgemillError:
        raise
    except Exception as error:
        # The converter raises many types: ConverterError, RuntimeError, ValueError, and MLIR's own.
        raise _refusal(str(error), scheme) from error


def convert_float(function: Any, owner: Any) -> bytes:
    """Convert a concrete function with a batch of 1 to a float file, to see its operators.

    Args:
        function: The function of a model.
        owner: The object that owns its variables.

    Raises:
        ConversionError: TensorFlow Lite refuses the function.
    """

    def made(products: bool) -> bytes:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], owner)
        set_option(converter, BATCH_OF_ONE, True)
        set_option(converter, FULLY_CONNECTED_PRODUCTS, products)
        return bytes(converter.convert())

    try:
        return with_products(made)
    except Exception as error:
        raise _refusal(str(error), Float32()) from error


def _holds_trained_ranges(signature: Any) -> bool:
    return any(_FAKE_QUANTIZATION.match(node.op) for node in _nodes(signature))


def _nodes(signature: Any) -> list[Any]:
    """All nodes of a signature and of the functions that it calls."""
    graph = signature.graph.as_graph_def()
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def _check_ranges(scheme: Scheme, trained: bool, representative: Representative | None) -> None:
    if trained and not scheme.is_static:
        raise SpecError(
            "a model that was trained under quantization has integer ranges, but the scheme does not use any",
            where="scheme",
            bound=static_kinds(),
            measured=scheme.kind,
            remedy="use one of these schemes, or convert a model without fake quantization",
        )
    if scheme.must_be_trained and not trained:
        raise SpecError(
            "4-bit weights must be trained: the converter creates them only from trained ranges",
            where="scheme",
            measured=scheme.kind,
            remedy="add a step `{kind: qat, epochs: ...}` to the recipe, or use static_wi8_ai8",
        )
    if scheme.is_static and not trained and representative is None:
        raise no_sample(scheme.kind)


def _configure(converter: Any, scheme: Scheme, trained: bool) -> None:
    if scheme.is_float:
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if isinstance(scheme, StaticScheme):
        if trained:
            _configure_trained(converter, scheme)
        else:
            _configure_static(converter, scheme)
    elif scheme.is_dynamic_range:
        set_option(converter, PER_TENSOR, getattr(scheme, "granularity", None) == "per_tensor")
    else:
        converter.target_spec.supported_types = [tf.float16]


def _configure_trained(converter: Any, scheme: StaticScheme) -> None:
    """Configure without calibration, because all ranges are in the graph. Tensors without a range stay in float."""
    if scheme.activation_bits == 16:
        # Only this path of the converter respects the bit width of an activation's fake quantization.
        set_option(converter, ANY_BITS, True)
    elif not scheme.float_io:
        converter.inference_input_type = converter.inference_output_type = tf.int8


def _configure_static(converter: Any, scheme: StaticScheme) -> None:
    operators, border = _STATIC[scheme.activation_bits]
    fallback = [tf.lite.OpsSet.TFLITE_BUILTINS] if scheme.float_fallback else []
    converter.target_spec.supported_ops = [operators, *fallback]
    set_option(converter, PER_TENSOR, scheme.granularity == "per_tensor")
    if not scheme.float_io:
        converter.inference_input_type = converter.inference_output_type = border


def _casts_at_the_border(signature: Any) -> bool:
    """Whether the model takes or returns integers or booleans, and casts: from them to floats, or to them."""
    border = (*signature.structured_input_signature[1].values(), *signature.structured_outputs.values())
    takes = any(spec.dtype.is_integer or spec.dtype.is_bool for spec in border)
    return takes and any(node.op == "Cast" for node in _nodes(signature))


def _has_fusible_lstm(signature: Any) -> bool:
    functions = signature.graph.as_graph_def().library.function
    return any(
        function.attr["api_implements"].s.startswith(b"lstm") and len(function.signature.input_arg) == _FUSIBLE_INPUTS
        for function in functions
    )


def _lacking(message: str) -> dict[str, str]:
    """The TensorFlow operations without an operator, from the converter's message.

    Returns:
        Operation -> its types, if it computes in floats that aren't float32: TensorFlow Lite may have an operator that
        computes in those.
    """
    found = re.findall(r"^(?:TF Select|Custom) ops: (.*)$", message, re.MULTILINE)
    names = sorted({name.strip() for names in found for name in names.split(",")})
    lacking = {}
    for name in names:
        calls = " ".join(re.findall(rf"^\s*tf\.{re.escape(name)}\((.*)$", message, re.MULTILINE))
        lacking[name] = ", ".join(kind for kind, mark in _OTHER_FLOATS.items() if re.search(rf"[x<]{mark}>", calls))
    return lacking


def _refusal(message: str, scheme: Scheme) -> ConversionError:
    """Shorten the converter's message to one sentence, with any names of operators."""
    lacking = _lacking(message)
    if lacking:
        names = ", ".join(name + (f" of {types}" if types else "") for name, types in lacking.items())
        cures = [_FLOAT32 if types else WITHOUT_OPERATOR.get(name, _REPLACE) for name, types in lacking.items()]
        return ConversionError(
            f"TensorFlow Lite has no operator for {names}",
            where=scheme.kind,
            bound="operations that TensorFlow Lite has",
            measured=names,
            remedy="; ".join(dict.fromkeys(cures)),
        )
    unquantized = re.search(r"not yet supported for op: '(\w+)'", message)
    if unquantized:
        return ConversionError(
            f"TensorFlow Lite cannot quantize the operator {unquantized.group(1)} in this scheme",
            where=scheme.kind,
            remedy="use another scheme for this model (static_wi8_ai8 has the most operators), or replace the layer",
        )
    # An MLIR diagnostic has a source position, the message, and the source line.
    errors = re.findall(r"error: (.*)", message) or [message.strip()]
    return ConversionError(
        f"TensorFlow Lite refused the model: {'; '.join(dict.fromkeys(errors))[:600]}",
        where=scheme.kind,
        remedy="replace the operation that the message names, or use another scheme",
    )
