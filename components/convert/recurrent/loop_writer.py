"""Write a loop over time steps into a TFLite file: a WHILE with a body and a condition. Imports TensorFlow."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.convert.recurrent.main_graph import Graph
from components.upstream.tflite.objects import schema

_B = schema.BuiltinOperator
# Versions of the operators for 8-bit tensors.
_VERSIONS = {_B.GATHER: 2, _B.SLICE: 2, _B.CONCATENATION: 2}


@dataclass(frozen=True)
class Loop:
    """A loop over time steps that have the same operators.

    Attributes:
        operators: The operators of the pattern, in order.
        start, stride: Index of the first slice, and the increment: 1 or -1.
        count: Number of time steps.
        before: Tensor of the pattern with a state before the time step -> the state before the loop.
        after: The same tensor -> the state after the time step.
        returned: The same tensor -> the state after the loop.
        slices: Tensor of the pattern -> the UNPACK that returns it.
        stacked: Tensor with the outputs of all time steps -> the output of the pattern.
        appends: Whether outputs are stacked in the order of the time steps.
    """

    operators: list[Any]
    start: int
    stride: int
    count: int
    before: Mapping[int, int]
    after: Mapping[int, int]
    returned: Mapping[int, int]
    slices: Mapping[int, Any]
    stacked: Mapping[int, int]
    appends: bool


def write_loop(graph: Graph, loop: Loop) -> None:
    """Replace the operators of the time steps with a WHILE over one of them."""
    model = graph.model
    sources = list(dict.fromkeys(int(operator.inputs[0]) for operator in loop.slices.values()))
    body = _Part(model, graph.tensors, "body")
    counter = body.scalar()
    states = {index: body.copied(index) for index in loop.before}
    whole = {index: body.copied(index) for index in sources}
    buffers = {index: body.copied(index) for index in loop.stacked}
    body.graph.inputs = [counter, *states.values(), *whole.values(), *buffers.values()]
    places = {**states}
    for tensor, operator in loop.slices.items():
        places[tensor] = body.copied(tensor)
        options = schema.GatherOptionsT()
        options.axis = operator.builtinOptions.axis
        body.add(_B.GATHER, [whole[int(operator.inputs[0])], counter], [places[tensor]], options)
    for operator in loop.operators:
        for tensor in map(int, (*operator.inputs, *operator.outputs)):
            if tensor not in places:
                places[tensor] = body.copied(tensor)
        made = copy.copy(operator)
        made.inputs, made.outputs = ([places[int(t)] for t in side] for side in (operator.inputs, operator.outputs))
        body.graph.operators.append(made)
    following = body.scalar()
    body.add(_B.ADD, [counter, body.constant(np.int32(loop.stride))], [following], schema.AddOptionsT())
    grown = [
        body.shifted(buffers[index], places[output], graph.tensors[index], loop.appends)
        for index, output in loop.stacked.items()
    ]
    after = [places[loop.after[index]] for index in states]
    body.graph.outputs = [following, *after, *whole.values(), *grown]
    condition = _Part(model, graph.tensors, "condition")
    now, verdict = condition.scalar(), condition.scalar(schema.TensorType.BOOL)
    carried = [condition.copied(index) for index in (*loop.before, *sources, *loop.stacked)]
    condition.graph.inputs, condition.graph.outputs = [now, *carried], [verdict]
    end = condition.constant(np.int32(loop.start + loop.stride * loop.count))
    kind, options = (_B.LESS, schema.LessOptionsT()) if loop.stride > 0 else (_B.GREATER, schema.GreaterOptionsT())
    condition.add(kind, [now, end], [verdict], options)
    main = _Part(model, graph.tensors, "", model.subgraphs[0])
    # Each value of a buffer is overwritten, so any tensor of its shape works for the first time step.
    entering = [next(one for one in sources if _shape(graph, one) == _shape(graph, index)) for index in loop.stacked]
    operator = main.operator(
        _B.WHILE,
        [main.constant(np.int32(loop.start)), *loop.before.values(), *sources, *entering],
        [main.scalar(), *loop.returned.values(), *(main.copied(index) for index in sources), *loop.stacked],
        schema.WhileOptionsT(),
    )
    operator.builtinOptions.condSubgraphIndex = len(model.subgraphs)
    operator.builtinOptions.bodySubgraphIndex = len(model.subgraphs) + 1
    model.subgraphs += [condition.graph, body.graph]
    graph.replace(operator, {*loop.returned.values(), *loop.stacked})


class _Part:
    """Adds operators and tensors to a graph; a new one unless it is given."""

    def __init__(self, model: Any, tensors: Sequence[Any], name: str, graph: Any = None) -> None:
        self._model, self._of = model, tensors
        self.graph = graph
        if graph is None:
            self.graph = schema.SubGraphT()
            self.graph.tensors, self.graph.operators, self.graph.name = [], [], name.encode()

    def _held(self, tensor: Any) -> int:
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def copied(self, index: int) -> int:
        """A tensor like one of the main graph, without its name; -1 stays an optional input."""
        if index < 0:
            return index
        tensor = copy.copy(self._of[index])
        tensor.name = b""
        return self._held(tensor)

    def scalar(self, kind: int = schema.TensorType.INT32) -> int:
        """A new scalar."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.hasRank, tensor.name = [], kind, True, b""
        return self._held(tensor)

    def constant(self, values: Any) -> int:
        """A constant of 32-bit integers."""
        tensor, buffer = schema.TensorT(), schema.BufferT()
        values = np.asarray(values, np.int32)
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor.shape, tensor.type, tensor.hasRank = list(values.shape), schema.TensorType.INT32, True
        tensor.buffer, tensor.name = len(self._model.buffers) - 1, b""
        return self._held(tensor)

    def operator(self, kind: int, inputs: list[int], outputs: list[int], options: Any) -> Any:
        """A new operator."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        operator.builtinOptions = options
        return operator

    def add(self, kind: int, inputs: list[int], outputs: list[int], options: Any) -> None:
        """Add a new operator at the end of the graph."""
        self.graph.operators.append(self.operator(kind, inputs, outputs, options))

    def _code(self, kind: int) -> int:
        version = _VERSIONS.get(kind, 1)
        for index, code in enumerate(self._model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == kind and code.version == version:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), version
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def shifted(self, buffer: int, output: int, like: Any, appends: bool) -> int:
        """Shift a buffer [batch, time, units] by one time step, and put an output [batch, units] at its end."""
        batch, steps, units = map(int, like.shape)
        rest, row, whole = (
            self._like(like, [batch, steps - 1, units]),
            self._like(like, [batch, 1, units]),
            self._like(like, like.shape),
        )
        begin = self.constant([0, 1 if appends else 0, 0])
        self.add(_B.SLICE, [buffer, begin, self.constant([-1, steps - 1, -1])], [rest], schema.SliceOptionsT())
        self.add(_B.EXPAND_DIMS, [output, self.constant(1)], [row], schema.ExpandDimsOptionsT())
        options = schema.ConcatenationOptionsT()
        options.axis = 1
        self.add(_B.CONCATENATION, [rest, row] if appends else [row, rest], [whole], options)
        return whole

    def _like(self, tensor: Any, shape: Sequence[int]) -> int:
        made = copy.copy(tensor)
        made.name, made.shape, made.shapeSignature = b"", list(shape), None
        return self._held(made)


def _shape(graph: Graph, index: int) -> Any:
    tensor = graph.tensors[index]
    return tensor.type, list(map(int, tensor.shape))
