"""What differs between the generations of TFX that Edgemill runs on (`requirements/*.lock`).

TFX 1.16 comes with TensorFlow 2.16 and Beam 2.61, TFX 1.21 with TensorFlow 2.21 and Beam 2.77. What both know by one
name is called by that name where it is needed; what they do not is here.
"""

from __future__ import annotations

from typing import Any

# TensorFlow 2.21 gives each row of a fully connected layer's weights a scale of its own, unless told not to.
_PER_TENSOR_DENSE = "_experimental_disable_per_channel_quantization_for_dense_layers"
# The runner that Beam 2.61 takes by itself, and has no name for.
_IN_PROCESS = "FnApiRunner"
_CONVERSION_METADATA = b"CONVERSION_METADATA"
# The fourth field of `Environment` (`tensorflow/compiler/mlir/lite/schema/conversion_metadata.fbs`), 8 bytes.
_MODEL_HASH = 10


def with_one_scale_per_dense_layer(converter: Any) -> None:
    """Let a TFLiteConverter give the int8 weights of a fully connected layer one scale, as TensorFlow 2.16 always does.

    A scheme so means the same on both, trained ranges (TFMOT trains one for a dense layer) reach the file, and kernels
    of devices that know one scale only take it.
    """
    if hasattr(converter, _PER_TENSOR_DENSE):
        setattr(converter, _PER_TENSOR_DENSE, True)


def keep_beam_in_process() -> None:
    """Let Beam pipelines that name no runner run in this process, by Beam's own runner in Python.

    What Beam 2.77 does by default is to fetch a runner of another language (Prism) from the internet, and to fall back
    to that one where it cannot.
    """
    from apache_beam.options.pipeline_options import StandardOptions

    if any(path.endswith(f".{_IN_PROCESS}") for path in StandardOptions.ALL_KNOWN_RUNNERS):
        StandardOptions.DEFAULT_RUNNER = _IN_PROCESS


def serialize_examples_in_one_order() -> None:
    """Let TFX's ExampleGens write equal examples as equal bytes.

    Protobuf 6 puts the features of an example into an order that changes from process to process, and samples are drawn
    by bytes. Protobuf 4 has one order, which stays.
    """
    import google.protobuf
    from tfx.components.example_gen import write_split

    if int(google.protobuf.__version__.partition(".")[0]) > 4:
        from components.upstream.serialization import SerializeInOneOrder

        # Workers import that class by its own name.
        write_split.MaybeSerialize = SerializeInOneOrder


def quantize_with_ranges(converter: Any, content: bytes, input_type: Any, output_type: Any, variables: bool) -> bytes:
    """The converter's own quantization of a float file that holds the range of each tensor.

    Args:
        converter: A TFLiteConverter, for its options.
        content: The file.
        input_type: Of the inputs; so for `output_type`.
        output_type: Likewise.
        variables: Whether variables that are left are quantized.
    """
    from tensorflow.lite.python import convert

    newer = (
        {"disable_per_channel_for_dense_layers": getattr(converter, _PER_TENSOR_DENSE)}
        if hasattr(converter, _PER_TENSOR_DENSE)
        else {}
    )
    return bytes(
        convert.mlir_quantize(
            content,
            converter._experimental_disable_per_channel,
            input_data_type=input_type,
            output_data_type=output_type,
            enable_variable_quantization=variables,
            **newer,
        )
    )


def without_model_hash(content: bytes) -> bytes:
    """A file without the hash of what it was converted from, which TensorFlow 2.21 puts into its metadata.

    The hash is of names too that count what the process traced before: the same model would be other bytes.
    """
    from tensorflow.lite.python import conversion_metadata_schema_py_generated as metadata
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    for index in range(model.MetadataLength()):
        if model.Metadata(index).Name() == _CONVERSION_METADATA:
            held = model.Buffers(model.Metadata(index).Buffer()).DataAsNumpy()
            table = metadata.ConversionMetadata.GetRootAs(held).Environment()._tab
            if place := table.Offset(_MODEL_HASH):
                # Where the table's field lies in the buffer, and the buffer in the file.
                start = content.index(held.tobytes()) + table.Pos + place
                return content[:start] + bytes(8) + content[start + 8 :]
    return content
