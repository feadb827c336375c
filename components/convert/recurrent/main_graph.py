"""The main graph of a TFLite file, with the producer and the readers of each tensor. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from components.upstream.tflite.objects import schema

_UNPACK = schema.BuiltinOperator.UNPACK


class Graph:
    """The main graph of a `ModelT`, which it changes in place."""

    def __init__(self, model: Any) -> None:
        self.model, (self._graph, *_) = model, model.subgraphs
        self.tensors: list[Any] = self._graph.tensors
        self._index()

    def _index(self) -> None:
        self._producers: dict[int, Any] = {}
        self._readers: dict[int, list[Any]] = {}
        for operator in self._graph.operators:
            for tensor in map(int, operator.outputs):
                self._producers[tensor] = operator
            for tensor in map(int, operator.inputs):
                self._readers.setdefault(tensor, []).append(operator)
        self.returned: Set[int] = {int(tensor) for tensor in self._graph.outputs}

    def kind(self, operator: Any) -> int:
        """The code of a builtin."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def of_kind(self, kind: int) -> list[Any]:
        """The operators of a kind."""
        return [operator for operator in self._graph.operators if self.kind(operator) == kind]

    def producer(self, tensor: int) -> Any:
        """The operator that computes a tensor; None for constants and inputs."""
        return self._producers.get(tensor)

    def readers(self, tensor: int) -> list[Any]:
        """The operators that read a tensor."""
        return self._readers.get(tensor, [])

    def reads(self, tensor: int, wanted: Set[int]) -> bool:
        """Whether a tensor is in `wanted`, or is computed from one that is, without unpacking a sequence."""
        seen, left = set[int](), [tensor]
        while left:
            one = left.pop()
            if one in wanted:
                return True
            operator = self.producer(one)
            if one not in seen and operator is not None and self.kind(operator) != _UNPACK:
                left += map(int, operator.inputs)
            seen.add(one)
        return False

    def in_order(self, operators: Set[int]) -> list[Any]:
        """The operators with these identities, in the order of the file."""
        return [operator for operator in self._graph.operators if id(operator) in operators]

    def alike(self, first: int, second: int) -> bool:
        """Whether two tensors have the same type, shape, and scales; optional inputs (-1) match."""
        if min(first, second) < 0:
            return first == second
        return _described(self.tensors[first]) == _described(self.tensors[second])

    def equal_constants(self, first: int, second: int) -> bool:
        """Whether two matching tensors are constants with the same values."""
        if min(first, second) < 0:
            return first == second
        buffers = [self.tensors[index].buffer for index in (first, second)]
        return buffers[0] == buffers[1] and self.model.buffers[buffers[0]].data is not None

    def same_operator(self, first: Any, second: Any) -> bool:
        """Whether two operators differ only in their tensors."""
        options = [None if one.builtinOptions is None else vars(one.builtinOptions) for one in (first, second)]
        return (
            first.opcodeIndex == second.opcodeIndex
            and len(first.inputs) == len(second.inputs)
            and len(first.outputs) == len(second.outputs) == 1
            and options[0] == options[1]
        )

    def replace(self, operator: Any, outputs: Set[int]) -> None:
        """Add an operator that computes these tensors instead of the operators that computed them before."""
        left = [one for one in self._graph.operators if not outputs & set(map(int, one.outputs))]
        self._graph.operators = [*left, operator]
        self._index()

    def tidy(self) -> None:
        """Sort the operators, and remove those that nothing reads, and unused tensors."""
        self._graph.operators = list(self._sorted())
        while unread := [one for one in self._graph.operators if not self._is_read(one)]:
            self._graph.operators = [one for one in self._graph.operators if one not in unread]
            self._index()
        for graph in self.model.subgraphs:
            _without_unused(graph, self.model.signatureDefs if graph is self._graph else [])

    def _is_read(self, operator: Any) -> bool:
        return any(self.readers(tensor) or tensor in self.returned for tensor in map(int, operator.outputs))

    def _sorted(self) -> Iterator[Any]:
        left, done = list(self._graph.operators), set[int]()
        while left:
            ready = next(
                one for one in left if all(t in done or self.producer(t) is None for t in map(int, one.inputs))
            )
            left.remove(ready)
            done.update(map(int, ready.outputs))
            yield ready


def _described(tensor: Any) -> Any:
    held = tensor.quantization
    scales = None if held is None or held.scale is None else tuple(map(float, held.scale))
    zeros = None if held is None or held.zeroPoint is None else tuple(map(int, held.zeroPoint))
    shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
    return tensor.type, shape, scales, zeros


def _without_unused(graph: Any, signatures: Any) -> None:
    used = {int(t) for operator in graph.operators for t in (*operator.inputs, *operator.outputs)}
    used |= {int(t) for t in (*graph.inputs, *graph.outputs)}
    kept = [index for index in range(len(graph.tensors)) if index in used]
    places = {old: new for new, old in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in kept]
    graph.inputs, graph.outputs = ([places[int(t)] for t in side] for side in (graph.inputs, graph.outputs))
    for operator in graph.operators:
        operator.inputs = [places[int(t)] for t in operator.inputs]
        operator.outputs = [places[int(t)] for t in operator.outputs]
    for signature in signatures or []:
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = places[int(entry.tensorIndex)]
