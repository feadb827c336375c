"""The float file that a candidate is compared with. Imports TensorFlow only when it converts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.convert.recurrent.backend import convert_lowered, lowers
from components.facts.artifact_paths import KERAS_FILE, SERVING_FOLDER
from components.model.reference.float_model import tflite_path
from components.spec.scheme import Float32, Form, Scheme

_Examples = Sequence[Mapping[str, npt.NDArray[Any]]]


def float_reference(
    serving: Path,
    scheme: Scheme,
    form: Form | None,
    streaming: bool,
    examples: _Examples,
    folder: Path,
    enter: Callable[[str], None],
) -> bytes:
    """The float file of the model that a candidate was converted from.

    Recurrent layers are lowered as in the candidate, but in float. A model that was trained under quantization keeps
    its trained weights, without quantizers.

    Args:
        serving: The serving folder of the model's artifact.
        scheme, form: Scheme and form of the candidate's recipe.
        streaming: Whether the candidate is a file of one time step.
        examples: Model input -> array [1, ...]; "" names the only input. Their values don't matter.
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
        if not scheme.is_static:
            return convert_lowered(model, Float32(), lowered, None, folder / "lowered", enter).content
        serving = _lowered(model, scheme, lowered, examples, folder / "lowered", enter)
    from components.convert.tensorflow.converter import convert_float
    from components.model.saved_model import load_serving, with_batch_of_one

    enter("converting to float")
    # The model owns the variables of its signature.
    held, signature = load_serving(_with_trained_weights(serving, folder / "trained"))
    import tensorflow as tf

    specs = signature.structured_input_signature[1]
    fixed = {name: with_batch_of_one(name, specs[name], str(serving)) for name in sorted(specs)}
    serve = tf.function(signature, autograph=False)
    return without_quantizers(convert_float(serve.get_concrete_function(**fixed), held))


def _lowered(
    model: Path, scheme: Scheme, form: Form, examples: _Examples, folder: Path, enter: Callable[[str], None]
) -> Path:
    """Lower recurrent layers as in the candidate, with quantizers.

    Without them, the converter moves biases into later layers, which then have no counterpart in the candidate.
    """
    from components.cells import sru  # noqa: F401 - registers the layer
    from components.lowering.lowering import lower
    from components.model.keras_model import load_kept, output_names

    held = load_kept(model)
    names = [tensor.name.partition(":")[0] for tensor in held.inputs]
    rows = [example if set(example) != {""} else {names[0]: example[""]} for example in examples]
    enter("lowering recurrent layers")
    sample = {name: np.concatenate([row[name] for row in rows]) for name in names}
    lower(held, scheme, form, folder, sample, output_names(held))
    return folder / SERVING_FOLDER


def _with_trained_weights(serving: Path, folder: Path) -> Path:
    """A SavedModel whose weight quantizers have 16 bits; the same folder if it has none.

    The converter rounds weights to their quantizers, and the steps of 16 bits are too fine to matter. It can't write a
    4-bit quantizer whose range has no negative values. Quantizers of activations get 8 bits, and keep the converter
    from moving constants into other layers.
    """
    from components.upstream.saved_model import read_proto

    model = read_proto(serving)
    functions = [one for held in model.meta_graphs for one in held.graph_def.library.function]
    found = False
    for function in functions:
        of_inputs = _from_inputs(function)
        for node in function.node_def:
            if node.op.startswith("FakeQuantWithMinMax"):
                node.attr["num_bits"].i = 8 if node.name in of_inputs else 16
                found = True
    if not found:
        return serving
    folder.mkdir()
    for entry in serving.iterdir():
        if entry.name != "saved_model.pb":
            (folder / entry.name).symlink_to(entry.resolve())
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


def _from_inputs(function: Any) -> set[str]:
    """The nodes of a function that compute from its tensors, not only from variables and constants."""
    import tensorflow as tf

    readers: dict[str, list[str]] = {}
    for node in function.node_def:
        for each in node.input:
            readers.setdefault(each.partition(":")[0], []).append(node.name)
    pending = [one.name for one in function.signature.input_arg if one.type != tf.resource.as_datatype_enum]
    found: set[str] = set()
    while pending:
        for name in readers.get(pending.pop(), ()):
            if name not in found:
                found.add(name)
                pending.append(name)
    return found


def without_quantizers(content: bytes) -> bytes:
    """Remove fake quantization, which float files represent as pairs of QUANTIZE and DEQUANTIZE.

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
