"""A TFLite file as operators and tensors, for comparison with another one. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.convert.compaction import read_model
from components.upstream.tflite.objects import schema

Array = npt.NDArray[Any]

_KINDS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPES = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
_NUMPY: dict[str, npt.DTypeLike] = {
    **{"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16},
    **{"INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_},
}


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of the main subgraph.

    Attributes:
        index: Its index.
        name: As in the file; may be empty.
        dtype: Flatbuffer name of its type.
        shape: Its shape; [] for a scalar.
        scales, zero_points: Quantization, float64 [1] or [channels]; empty if it isn't quantized.
        axis: Axis of the channels that have their own scale.
        constant: Its stored values in the file's type; None if they are computed, or stored in a sparse format.
        stored: Whether the file stores its values.
        variable: Whether it keeps its values between invocations.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: Array
    zero_points: Array
    axis: int
    constant: Array | None
    stored: bool
    variable: bool

    @property
    def is_float(self) -> bool:
        """Whether its values are float32 or float16."""
        return self.dtype in {"FLOAT32", "FLOAT16"}

    @property
    def limits(self) -> tuple[int, int] | None:
        """Smallest and largest integer of a quantized tensor; None for others."""
        if not self.scales.size or self.dtype not in _NUMPY or self.is_float:
            return None
        bounds = np.iinfo(_NUMPY[self.dtype])
        return int(bounds.min), int(bounds.max)

    def real(self, values: Array) -> Array:
        """Real values, float64, of stored values of the tensor's shape."""
        wide = values.astype(np.float64)
        if not self.scales.size or self.is_float:
            return wide
        scales, zeros = self.scales, self.zero_points
        if scales.size > 1:
            along = [1] * wide.ndim
            along[self.axis] = -1
            scales, zeros = scales.reshape(along), zeros.reshape(along)
        return np.asarray((wide - zeros) * scales)


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator of the main subgraph.

    Attributes:
        index: Its position in the order of execution.
        kind: Name of the builtin (`CONV_2D`).
        inputs, outputs: Tensor indexes; -1 stands for an omitted optional input.
        axis: The axis of a concatenation; None for other operators.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    axis: int | None = None


class Graph:
    """The main subgraph of a file.

    Attributes:
        content: The file.
        title: Its name in Model Explorer: that of the subgraph, or the key of its first signature, or `main`.
        tensors, operators: In the order of the file.
        inputs, outputs: Indexes of the model's input and output tensors.
        makers: Index of a computed tensor -> its operator.
        readers: Index of a tensor -> operators that read it.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        model = read_model(content)
        graph = model.subgraphs[0]
        keys = [one.signatureKey for one in model.signatureDefs or () if one.subgraphIndex == 0]
        self.title = next((name.decode() for name in (graph.name, *keys) if name), "main")
        kinds = [_KINDS[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
        self.tensors = [_tensor(index, tensor, model.buffers) for index, tensor in enumerate(graph.tensors)]
        self.operators = [
            Operator(
                index=index,
                kind=kinds[one.opcodeIndex],
                inputs=tuple(map(int, one.inputs)) if one.inputs is not None else (),
                outputs=tuple(map(int, one.outputs)) if one.outputs is not None else (),
                axis=int(one.builtinOptions.axis) if kinds[one.opcodeIndex] == "CONCATENATION" else None,
            )
            for index, one in enumerate(graph.operators)
        ]
        self.inputs, self.outputs = tuple(map(int, graph.inputs)), tuple(map(int, graph.outputs))
        self.makers: Mapping[int, Operator] = {index: one for one in self.operators for index in one.outputs}
        self.readers: dict[int, list[Operator]] = {}
        for one in self.operators:
            for index in one.inputs:
                self.readers.setdefault(index, []).append(one)

    def source(self, index: int, through: frozenset[str]) -> int:
        """Trace a tensor back through operators of these kinds."""
        while index in self.makers and self.makers[index].kind in through:
            index = self.makers[index].inputs[0]
        return index

    def name(self, index: int) -> str:
        """A tensor's name in messages, and in Model Explorer."""
        return self.tensors[index].name or f"tensor {index}"


def _tensor(index: int, tensor: Any, buffers: Any) -> Tensor:
    held = tensor.quantization
    scaled = held is not None and held.scale is not None and len(held.scale) > 0
    scales = np.asarray(held.scale, np.float64) if scaled else np.empty(0)
    zeros = np.zeros(max(1, scales.size))
    if scaled and held.zeroPoint is not None and len(held.zeroPoint):
        zeros = np.broadcast_to(np.asarray(held.zeroPoint, np.float64), scales.shape)
    shape = tuple(map(int, tensor.shape)) if tensor.shape is not None else ()
    data = buffers[tensor.buffer].data
    stored = data is not None and len(data) > 0
    dtype = _TYPES[tensor.type]
    return Tensor(
        index=index,
        name=(tensor.name or b"").decode(),
        dtype=dtype,
        shape=shape,
        scales=scales,
        zero_points=zeros,
        axis=int(held.quantizedDimension) if scaled else 0,
        constant=_values(dtype, np.asarray(data, np.uint8), shape) if stored and tensor.sparsity is None else None,
        stored=stored,
        variable=bool(tensor.isVariable),
    )


def _values(dtype: str, data: Array, shape: tuple[int, ...]) -> Array | None:
    if dtype == "INT4":
        # Two values per byte, the first in the low half. With an odd number of values, the last half is padding.
        halves = np.stack([data << 4, data & 0xF0], axis=-1).reshape(-1).view(np.int8) >> 4
        return np.asarray(halves[: int(np.prod(shape))].reshape(shape))
    if dtype not in _NUMPY:
        return None
    return np.frombuffer(data.tobytes(), _NUMPY[dtype]).reshape(shape)
