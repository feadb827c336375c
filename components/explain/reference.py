"""The float file that a candidate is compared with. Imports TensorFlow only when it converts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from components.convert.recurrent.backend import convert_lowered, lowers
from components.facts.artifact_paths import KERAS_FILE
from components.model.reference.float_model import tflite_path
from components.spec.scheme import Float32, Form, Scheme


def float_reference(
    serving: Path, scheme: Scheme, form: Form | None, streaming: bool, folder: Path, enter: Callable[[str], None]
) -> bytes:
    """The float file of the model that a candidate was converted from.

    Recurrent layers are lowered in floats as in the candidate. A model that was trained under quantization gives its
    trained weights, without quantizers.

    Args:
        serving: The serving folder of the model's artifact.
        scheme, form: Those of the candidate's recipe.
        streaming: Whether the candidate is a file of one time step.
        folder: A temporary folder.
        enter: Records the next stage.

    Raises:
        ModelError, ConversionError: The model can't be loaded, or converted to floats.
    """
    path = tflite_path(serving)
    if path is not None:
        return path.read_bytes()
    model = serving.parent
    if lowers(model / KERAS_FILE, scheme, form):
        lowered: Form = "streaming" if streaming else "sequence"
        return convert_lowered(model, Float32(), lowered, None, folder / "lowered", enter).content
    from components.convert.tensorflow.converter import convert_float
    from components.model.saved_model import load_serving, with_batch_of_one

    enter("converting to float")
    # The model owns the variables of its signature.
    held, signature = load_serving(serving)
    import tensorflow as tf

    specs = signature.structured_input_signature[1]
    fixed = {name: with_batch_of_one(name, specs[name], str(serving)) for name in sorted(specs)}
    serve = tf.function(signature, autograph=False)
    return without_quantizers(convert_float(serve.get_concrete_function(**fixed), held))


def without_quantizers(content: bytes) -> bytes:
    """Remove fake quantization, which float files have as pairs of QUANTIZE and DEQUANTIZE.

    Returns:
        The file without such pairs; the same bytes if there are none.
    """
    from components.convert.compaction import read_model
    from components.upstream.tflite.objects import pack, schema

    model = read_model(content)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    graph = model.subgraphs[0]
    narrowed = {
        int(one.outputs[0]): int(one.inputs[0])
        for one in graph.operators
        if codes[one.opcodeIndex] == schema.BuiltinOperator.QUANTIZE
    }
    widened = {
        int(one.outputs[0]): narrowed[int(one.inputs[0])]
        for one in graph.operators
        if codes[one.opcodeIndex] == schema.BuiltinOperator.DEQUANTIZE and int(one.inputs[0]) in narrowed
    }
    if not widened:
        return content

    def source(index: int) -> int:
        while index in widened:
            index = widened[index]
        return index

    storage = {schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE}
    graph.operators = [one for one in graph.operators if codes[one.opcodeIndex] not in storage]
    for one in graph.operators:
        one.inputs = [source(int(index)) for index in one.inputs]
    graph.outputs = [source(int(index)) for index in graph.outputs]
    for signature in model.signatureDefs or ():
        for entry in signature.outputs or ():
            entry.tensorIndex = source(int(entry.tensorIndex))
    return pack(model)
