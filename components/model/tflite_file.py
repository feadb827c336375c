"""The content of a TFLite file, read from its flatbuffer without importing TensorFlow."""

from __future__ import annotations

import functools
import re
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import EdgemillError, ModelError
from components.facts.conversion import CellTensor, FusedCell, Inspection, OperatorUse, TensorFact
from components.model.tflite_flags import border_casts
from components.upstream.tflite.schema import load_schema

_IDENTIFIER = b"TFL3"
_FLOATS = frozenset({"FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"})
_NUMPY = {
    "FLOAT16": np.float16,
    "FLOAT32": np.float32,
    "FLOAT64": np.float64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
}
# Errors that the generated readers and NumPy raise if an offset or length points outside the file.
_BROKEN = (struct.error, IndexError, ValueError, TypeError, OverflowError, KeyError, AttributeError, MemoryError)
_GATES = ("input gate", "forget gate", "cell gate", "output gate")
# Inputs of (UNI)DIRECTIONAL_SEQUENCE_LSTM and LSTM in order (`tensorflow/lite/kernels/lstm_shared.h`).
_LSTM = (
    "input",
    *(f"weights of input to {gate}" for gate in _GATES),
    *(f"weights of hidden state to {gate}" for gate in _GATES),
    *(f"peephole weights of {gate}" for gate in ("input gate", "forget gate", "output gate")),
    *(f"bias of {gate}" for gate in _GATES),
    "projection weights",
    "projection bias",
    "hidden state",
    "cell state",
    *(f"normalization of {gate}" for gate in _GATES),
)
_ROLES = {44: ("UNIDIRECTIONAL_SEQUENCE_LSTM", _LSTM), 16: ("LSTM", _LSTM)}


def inspect_model(content: bytes) -> Inspection:
    """Read the operators, tensors, and weights of all subgraphs of a TFLite file.

    Returns:
        The facts. Inputs and outputs are the main subgraph's, in the interpreter's order. A constant buffer that
        several tensors share counts once in `weight_bytes` and in `weights`.

    Raises:
        ModelError: The bytes are not a TFLite flatbuffer, or are truncated.
    """
    if content[4:8] != _IDENTIFIER:
        raise ModelError(
            "this is not a TFLite file",
            bound=f"a flatbuffer with the identifier {_IDENTIFIER.decode()}",
            measured=f"{len(content)} bytes that begin with {content[:8]!r}",
            remedy="specify a .tflite file; a SavedModel or a Keras file must be converted first",
        )
    try:
        return _inspect(content)
    except EdgemillError:
        raise
    except _BROKEN as error:
        raise ModelError(
            "the TFLite file is truncated or damaged",
            bound="a flatbuffer whose offsets stay inside the file",
            measured=f"{len(content)} bytes; {type(error).__name__}: {error}",
            remedy="copy or convert it again, and compare its sha256",
        ) from error


def scales_of(content: bytes) -> set[tuple[float, int]]:
    """Scale and zero point of every per-tensor quantized tensor, in a file that `inspect_model` can read."""
    model = load_schema().Model.GetRootAs(content, 0)
    found = set()
    for graph in (model.Subgraphs(index) for index in range(model.SubgraphsLength())):
        for tensor in (graph.Tensors(index) for index in range(graph.TensorsLength())):
            quantization = tensor.Quantization()
            if quantization is not None and quantization.ScaleLength() == 1:
                zero_point = int(quantization.ZeroPoint(0)) if quantization.ZeroPointLength() else 0
                found.add((float(quantization.Scale(0)), zero_point))
    return found


def _inspect(content: bytes) -> Inspection:
    model = load_schema().Model.GetRootAs(content, 0)
    subgraphs = [model.Subgraphs(index) for index in range(model.SubgraphsLength())]
    tensors = [graph.Tensors(index) for graph in subgraphs for index in range(graph.TensorsLength())]
    constants = {tensor.Buffer(): data for tensor in tensors if (data := constant_of(model, content, tensor)).size}
    places = [index for graph in subgraphs for index in range(graph.TensorsLength())]
    facts = [
        _fact(tensor, constants.get(tensor.Buffer()), place) for tensor, place in zip(tensors, places, strict=True)
    ]
    weights = {
        tensor.Buffer(): fact
        for tensor, fact in zip(tensors, facts, strict=True)
        if fact.bytes and (len(fact.shape) >= 2 or int(np.prod(fact.shape)) >= 16)
    }
    operators = _operators(model, subgraphs)
    placeholders = set(_placeholders(subgraphs))
    types = [fact.dtype for fact in facts]
    return Inspection(
        file_bytes=len(content),
        weight_bytes=sum(data.size for data in constants.values()),
        operators=operators,
        dtype_counts=dict(
            sorted(Counter(fact.dtype for index, fact in enumerate(facts) if index not in placeholders).items())
        ),
        inputs=_border(model, subgraphs[0].InputsAsNumpy().tolist(), facts, "Inputs"),
        outputs=_border(model, subgraphs[0].OutputsAsNumpy().tolist(), facts, "Outputs"),
        weights=tuple(sorted(weights.values(), key=lambda fact: (-fact.bytes, fact.name))),
        float_tensors=tuple(
            fact.name for index, fact in enumerate(facts) if fact.dtype in _FLOATS and index not in placeholders
        ),
        border_casts=tuple(facts[place].name for place in border_casts(subgraphs[0], _kinds(model), types)),
        cells=tuple(fused_cells(model, subgraphs, facts)),
        stateful=any(tensor.IsVariable() for tensor in tensors) or any(use.name == "VAR_HANDLE" for use in operators),
        runtime_floor=_runtime_floor(model),
    )


def _runtime_floor(model: Any) -> str | None:
    for entry in (model.Metadata(index) for index in range(model.MetadataLength())):
        if entry.Name() == b"min_runtime_version":
            content = bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
            version = content.partition(b"\0")[0].decode()
            return version if re.fullmatch(r"\d+(\.\d+)*", version) else None
    return None


def _border(model: Any, places: list[int], facts: list[TensorFact], side: str) -> tuple[TensorFact, ...]:
    """The inputs or outputs in the order of the file, under their names in its only signature if there is one."""
    names: dict[int, list[str]] = {}
    if model.SignatureDefsLength() == 1:
        signature = model.SignatureDefs(0)
        entries = [getattr(signature, side)(index) for index in range(getattr(signature, f"{side}Length")())]
        for entry in entries:
            names.setdefault(entry.TensorIndex(), []).append((entry.Name() or b"").decode())
    found = []
    for place in dict.fromkeys(places) if names else places:
        quantization = model.Subgraphs(0).Tensors(place).Quantization()
        quantized = quantization is not None and quantization.ScaleLength() == 1
        zero_point = int(quantization.ZeroPoint(0)) if quantized and quantization.ZeroPointLength() else 0
        found += [
            facts[place].model_copy(
                update={
                    "signature": name,
                    "scale": float(quantization.Scale(0)) if quantized else None,
                    "zero_point": zero_point if quantized else None,
                }
            )
            # One tensor can be several outputs.
            for name in names.get(place, [""])
        ]
    return tuple(found)


def _placeholders(subgraphs: list[Any]) -> Iterator[int]:
    """Positions, among all tensors, of the intermediates of fused LSTMs. They only carry ranges, never data."""
    offset = 0
    for graph in subgraphs:
        operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
        yield from (
            offset + operator.Intermediates(index)
            for operator in operators
            for index in range(operator.IntermediatesLength())
        )
        offset += graph.TensorsLength()


def _operators(model: Any, subgraphs: list[Any]) -> tuple[OperatorUse, ...]:
    codes = []
    for index, name in enumerate(_kinds(model)):
        code = model.OperatorCodes(index)
        custom = (code.CustomCode() or b"").decode()
        codes.append((f"CUSTOM:{custom}" if name == "CUSTOM" else name, int(code.Version())))
    counts = Counter(
        codes[graph.Operators(index).OpcodeIndex()] for graph in subgraphs for index in range(graph.OperatorsLength())
    )
    return tuple(
        OperatorUse(name=name, version=version, count=count)
        for (name, version), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def constant_of(model: Any, content: bytes, tensor: Any) -> npt.NDArray[np.uint8]:
    """The bytes of a tensor's constant buffer, inside or after the flatbuffer; empty for activations."""
    buffer = model.Buffers(tensor.Buffer())
    # Files above 2 GB store their data after the flatbuffer, at an offset from the start of the file. So does
    # ai-edge-quantizer above 256 KiB.
    if buffer.Offset() > 1:
        return np.frombuffer(content, np.uint8, buffer.Size(), buffer.Offset())
    return np.empty(0, np.uint8) if buffer.DataIsNone() else buffer.DataAsNumpy()


def _fact(tensor: Any, data: npt.NDArray[np.uint8] | None, place: int) -> TensorFact:
    shape = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else tensor.ShapeAsNumpy()
    quantization = tensor.Quantization()
    dtype = _names(load_schema().TensorType)[tensor.Type()]
    sparse = tensor.Sparsity() is not None
    sizes = tuple(int(size) for size in shape) if tensor.ShapeLength() else ()
    fact = TensorFact(
        name=(tensor.Name() or b"").decode() or f"tensor {place}",
        shape=sizes,
        dtype=dtype,
        bytes=0 if data is None else data.size,
        scales=quantization.ScaleLength() if quantization else 0,
        sparse_encoded=sparse,
    )
    values = None if data is None else _values(dtype, data, None if sparse else int(np.prod(sizes)))
    if values is None or not values.size:
        return fact
    zero_points = quantization.ZeroPointAsNumpy() if quantization and quantization.ZeroPointLength() else np.zeros(1)
    # Biases have per-channel zero points along a dimension that they lack. Symmetric zero points are all 0 anyway.
    if sparse or len(set(zero_points.tolist())) == 1:
        nonzero = np.count_nonzero(values != zero_points[0])
    else:
        along = [1] * len(sizes)
        along[quantization.QuantizedDimension()] = -1
        nonzero = np.count_nonzero(values.reshape(sizes) != zero_points.reshape(along))
    total = int(np.prod(sizes))
    return fact.model_copy(
        update={
            # A sparse encoding omits zeros, so the number of values comes from the shape.
            "sparsity": float((total - nonzero) / total),
            "unique_values": len(np.unique(values)),
        }
    )


def _values(dtype: str, data: npt.NDArray[np.uint8], count: int | None) -> npt.NDArray[Any] | None:
    """The stored values, flat; None for types that are not numbers."""
    if dtype == "INT4":
        # Two values per byte, the first in the low half. With an odd number of values, the last half is padding.
        halves = np.stack([data << 4, data & 0xF0], axis=-1).reshape(-1).view(np.int8) >> 4
        return halves[:count]
    if dtype not in _NUMPY:
        return None
    return np.frombuffer(data.tobytes(), _NUMPY[dtype])


def _kinds(model: Any) -> list[str]:
    """Names of the builtins by their index in the file."""
    builtins = _names(load_schema().BuiltinOperator)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    # Files from before schema 3a store the code in one byte. Newer files set both fields if the code fits.
    return [builtins[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]


@functools.cache
def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


def fused_cells(model: Any, subgraphs: Sequence[Any], facts: Sequence[TensorFact]) -> Iterator[FusedCell]:
    """The fused recurrent operators of a file. `facts` describes all tensors, in the order of the subgraphs."""
    offset = 0
    for graph in subgraphs:
        for operator in (graph.Operators(index) for index in range(graph.OperatorsLength())):
            code = model.OperatorCodes(operator.OpcodeIndex())
            known = _ROLES.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
            if known is not None and operator.OutputsLength():
                name, roles = known
                inputs = [operator.Inputs(index) for index in range(operator.InputsLength())]
                taken = [(role, index) for role, index in zip(roles, inputs, strict=False) if index >= 0]
                given = operator.Outputs(0)
                tensors = [_cell_tensor(role, facts[offset + index]) for role, index in [*taken, ("output", given)]]
                yield FusedCell(name=facts[offset + given].name, operator=name, tensors=tuple(tensors))
        offset += graph.TensorsLength()


def fused_outputs(content: bytes) -> Iterator[tuple[int, int]]:
    """Tensor indexes of each fused LSTM in the main subgraph: weights from input to input gate, and output."""
    from components.upstream.tflite.objects import schema

    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    for operator in (graph.Operators(index) for index in range(graph.OperatorsLength())):
        code = model.OperatorCodes(operator.OpcodeIndex())
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM:
            yield int(operator.Inputs(1)), int(operator.Outputs(0))


def _cell_tensor(role: str, fact: TensorFact) -> CellTensor:
    return CellTensor(role=role, dtype=fact.dtype, shape=fact.shape)
