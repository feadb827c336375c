"""Properties of a TFLite file that determine how to run it: names, state, fixed shapes, and outputs per time step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from components.core.errors import ModelError

_USUAL_EXAMPLES, _MOST_EXAMPLES, _SMALL_BYTES = 64, 1024, 4 << 20


def border_casts(graph: Any, kinds: Sequence[str], types: Sequence[str]) -> Iterator[int]:
    """Positions of float tensors that only convert between integer inputs or outputs and quantized tensors.

    Args:
        graph: The main subgraph, as an object of the schema's reader.
        kinds: Names of the file's builtin operators by their index.
        types: Names of the types of its tensors.
    """
    operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
    read: dict[int, set[str]] = {}
    made: dict[int, str] = {}
    for operator in operators:
        kind = kinds[operator.OpcodeIndex()]
        for place in map(operator.Inputs, range(operator.InputsLength())):
            read.setdefault(place, set()).add(kind)
        made.update(dict.fromkeys(map(operator.Outputs, range(operator.OutputsLength())), kind))
    inputs, outputs = set(graph.InputsAsNumpy().tolist()), set(graph.OutputsAsNumpy().tolist())
    for cast in (one for one in operators if kinds[one.OpcodeIndex()] == "CAST"):
        source, target = cast.Inputs(0), cast.Outputs(0)
        if source in inputs and types[target] == "FLOAT32" and read.get(target) == {"QUANTIZE"}:
            yield target
        if target in outputs and made.get(source) == "DEQUANTIZE" and read.get(source) == {"CAST"}:
            yield source


def keeps_state(content: bytes) -> bool:
    """Whether tensors keep their values between invocations.

    Raises:
        ModelError: The model assigns to resource variables, which the runtime cannot reset.
    """
    from components.upstream.tflite.objects import schema

    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())]
    main = model.Subgraphs(0)
    if any(
        codes[main.Operators(i).OpcodeIndex()] == schema.BuiltinOperator.ASSIGN_VARIABLE
        for i in range(main.OperatorsLength())
    ):
        raise ModelError(
            "the model assigns to resource variables, which cannot be reset between examples",
            where="TFLite file",
            remedy="export a model whose state is an input and an output, or a fused LSTM",
        )
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    return any(graph.Tensors(i).IsVariable() for graph in graphs for i in range(graph.TensorsLength()))


_EACH_STEP = "edgemill_each_step"


def with_each_step(content: bytes) -> bytes:
    """Mark a streaming file to indicate that it returns an output for each time step, not only for the last."""
    from components.upstream.tflite.objects import pack, schema, unpack

    model = unpack(content)
    mark, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = np.frombuffer(b"1" * 16, np.uint8)
    mark.name, mark.buffer = _EACH_STEP, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), mark]
    return pack(model)


def returns_each_step(content: bytes) -> bool:
    """Whether a streaming file returns an output for each time step (`with_each_step` marks it)."""
    from components.upstream.tflite.objects import schema

    model = schema.Model.GetRootAs(content)
    return any(model.Metadata(i).Name() == _EACH_STEP.encode() for i in range(model.MetadataLength()))


def has_fixed_shapes(content: bytes) -> bool:
    """Whether an operator fixes its output shape, including the batch. XNNPACK writes past it in a larger batch."""
    from components.upstream.tflite.objects import schema

    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())]
    return schema.BuiltinOperator.TRANSPOSE_CONV in codes


def most_examples(content: bytes) -> int:
    """The maximum number of examples to run in a call of the runtime.

    The activations of a full evaluation batch may not fit in memory. A model with small activations gets more examples,
    because the overhead of a call exceeds the run time of such a model.
    """
    from components.upstream.tflite.objects import schema

    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
    computed = [each for each in tensors if not model.Buffers(each.Buffer()).DataLength()]
    # No TensorFlow Lite type has more than 8 bytes.
    size = sum(8 * math.prod(each.Shape(i) for i in range(each.ShapeLength())) for each in computed)
    return min(max(_USUAL_EXAMPLES, _SMALL_BYTES // max(size, 1)), _MOST_EXAMPLES)


def by_name(interpreter: Any, side: str) -> dict[str, dict[str, Any]]:
    """Details of the inputs or outputs, by their names in the file's signature or, without one, their tensor names."""
    details = interpreter.get_input_details() if side == "inputs" else interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        named = runner.get_input_details() if side == "inputs" else runner.get_output_details()
        # One tensor can be several outputs.
        if {detail["index"] for detail in named.values()} == {detail["index"] for detail in details}:
            places = [detail["index"] for detail in details]
            held = {detail["index"]: detail for detail in details}
            ordered = sorted(named, key=lambda name: places.index(named[name]["index"]))
            return {name: held[named[name]["index"]] for name in ordered}
    return {_plain(detail["name"]): detail for detail in details}


def _plain(name: str) -> str:
    """`serving_default_image:0` is the input `image`. Outputs may differ only in the number after the colon."""
    plain = name.removeprefix("serving_default_")
    return plain.removesuffix(":0")
