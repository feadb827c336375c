"""TensorFlow Lite's converter: its private options, its quantizers, and its metadata. Imports TensorFlow.

The converter's options are attributes, and Python lets code set any attribute. If a TensorFlow release renamed an
option, the old name would have no effect. Therefore, `set_option` sets all options and refuses unknown names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.lite.python import conversion_metadata_schema_py_generated, convert, util
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.optimize import calibrator

from components.core.errors import ConversionError

# 16-bit integer activations with 8-bit weights.
INT16_OPERATORS: Any = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
SPARSITY: Any = tf.lite.Optimize.EXPERIMENTAL_SPARSITY

# One scale for all weights of a tensor instead of one per channel.
PER_TENSOR = "_experimental_disable_per_channel"
# Fake quantization of activations with the number of bits that its operators have.
ANY_BITS = "_experimental_low_bit_qat"
# Loops inside loaded functions have batch size 1.
BATCH_OF_ONE = "_experimental_default_to_single_batch_in_tensor_list_ops"
# The MLIR quantizer for float16 and dynamic range instead of its predecessor.
NEW_DYNAMIC_RANGE = "experimental_new_dynamic_range_quantizer"
# Writes products of batches of matrices as fully connected layers. With a batch of 1, the converter otherwise writes a
# product of two vectors with an output of the wrong rank, and refuses its own file with this message.
FULLY_CONNECTED_PRODUCTS = "unfold_batchmatmul"
_WRONG_RANK = "'tfl.batch_matmul' op found invalid output rank"
# TensorFlow 2.21 only. By default, it gives each row of a fully connected layer's weights its own scale.
_PER_TENSOR_DENSE = "_experimental_disable_per_channel_quantization_for_dense_layers"
# The matching argument of the quantizer.
_DENSE_ARGUMENT = "disable_per_channel_for_dense_layers"

# XNNPACK of TensorFlow 2.21 computes products of int8 activations as if the zero point of the second operand were 0.
# The versions in TensorFlow 2.16 and LiteRT 2.3 read it.
IGNORES_ZERO_POINTS = tuple(map(int, tf.__version__.split(".")[:2])) > (2, 16)

_CONVERSION_METADATA = b"CONVERSION_METADATA"
# The fourth field of `Environment` (`tensorflow/compiler/mlir/lite/schema/conversion_metadata.fbs`), 8 bytes.
_MODEL_HASH = 10


def set_option(converter: Any, name: str, value: Any) -> None:
    """Set an option of a TFLiteConverter.

    Raises:
        ConversionError: This converter has no such option and would ignore it.
    """
    if not hasattr(converter, name):
        raise ConversionError(
            "TensorFlow's converter does not have an option that this conversion needs",
            where=f"{type(converter).__name__}.{name}",
            bound="the version of TensorFlow in requirements/*.lock",
            measured=f"TensorFlow {tf.__version__}",
            remedy="run `make setup`, which installs the locked version",
        )
    setattr(converter, name, value)


def with_products(made: Callable[[bool], bytes]) -> bytes:
    """Convert without `FULLY_CONNECTED_PRODUCTS`, or with it if products would otherwise get the wrong rank.

    Args:
        made: Converts with a new TFLiteConverter, so that no state is left after a failure. Takes the option's value.
    """
    try:
        return made(False)
    except Exception as error:
        if _WRONG_RANK not in str(error):
            raise
    return made(True)


def with_one_scale_per_dense_layer(converter: Any) -> None:
    """Make a TFLiteConverter use one scale for a fully connected layer's int8 weights, as TensorFlow 2.16 always does.

    A scheme then means the same in both versions, trained ranges (TFMOT trains one for a dense layer) reach the file,
    and device kernels that support only one scale accept the file.
    """
    if _has_scales_per_row():
        set_option(converter, _PER_TENSOR_DENSE, True)


def _has_scales_per_row() -> bool:
    return _DENSE_ARGUMENT in inspect.signature(convert.mlir_quantize).parameters


def replace_quantizer(converter: Any, quantize: Callable[[bytes, Any, Any, bool], bytes]) -> None:
    """Make a TFLiteConverter calibrate and quantize with the given function.

    Args:
        converter: Converter for a static scheme with 8-bit activations.
        quantize: Function of the float file, the input type, the output type, and whether variables are quantized.

    Raises:
        ConversionError: This converter has no quantizer to replace.
    """

    def replacement(
        result: bytes,
        input_type: Any,
        output_type: Any,
        activations_type: Any,  # noqa: ARG001
        bias_type: Any,  # noqa: ARG001
        allow_float: bool,  # noqa: ARG001
        enable_variable_quantization: bool,
        debug_options: Any = None,  # noqa: ARG001 - passed by TensorFlow 2.21
    ) -> bytes:
        return quantize(result, input_type, output_type, enable_variable_quantization)

    set_option(converter, "_quantize", replacement)


def quantize_with_ranges(converter: Any, content: bytes, input_type: Any, output_type: Any, variables: bool) -> bytes:
    """Quantize a float file that contains the range of each tensor, with the converter's own quantizer."""
    newer = {_DENSE_ARGUMENT: getattr(converter, _PER_TENSOR_DENSE)} if _has_scales_per_row() else {}
    return bytes(
        convert.mlir_quantize(
            content,
            getattr(converter, PER_TENSOR),
            input_data_type=input_type,
            output_data_type=output_type,
            enable_variable_quantization=variables,
            **newer,
        )
    )


def with_intermediate_tensors(content: bytes) -> bytes:
    """Add the intermediate tensors of fused LSTMs to a float file, to get their ranges."""
    return bytes(calibrator.add_intermediate_tensors(content))


def with_integer_io(content: bytes, kind: Any) -> bytes:
    """Remove the operators that convert the inputs and outputs of an integer file from and to float.

    Args:
        content: A file with float inputs and outputs.
        kind: Integer type of the inputs and outputs: `tf.int8` or `tf.int16`.
    """
    return bytes(util.modify_model_io_type(bytearray(content), kind, kind))


def without_model_hash(content: bytes) -> bytes:
    """Zero the hash of the source model, which TensorFlow 2.21 writes into the metadata of a file.

    The hash covers names that depend on earlier traces in the process, so the same model would give different bytes.

    Raises:
        ConversionError: The metadata does not occur exactly once in the file, so overwriting it could damage the file.
    """
    model = schema.Model.GetRootAs(content)
    for index in range(model.MetadataLength()):
        if model.Metadata(index).Name() == _CONVERSION_METADATA:
            held = model.Buffers(model.Metadata(index).Buffer()).DataAsNumpy()
            root = conversion_metadata_schema_py_generated.ConversionMetadata.GetRootAs(held)
            table = root.Environment()._tab
            if place := table.Offset(_MODEL_HASH):
                buffer = held.tobytes()
                if content.count(buffer) != 1:
                    raise ConversionError(
                        "the metadata that TensorFlow's converter wrote cannot be found in the file",
                        where="CONVERSION_METADATA",
                        bound="one place with these bytes",
                        measured=f"{content.count(buffer)} places",
                        remedy="report this to the maintainers, with the model",
                    )
                # Offset of the buffer in the file, of the table in the buffer, and of the field in the table.
                start = content.index(buffer) + table.Pos + place
                return content[:start] + bytes(8) + content[start + 8 :]
    return content
