"""Turn the repeated operators of unrolled recurrent layers into a loop over one time step. Imports TensorFlow.

The converter writes no integer loops, but the kernel of WHILE takes any types. The time steps of an unrolled layer have
the same operators, weights, and scales, so a loop over one of them computes the same integers. A layer whose time steps
differ stays unrolled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from components.convert.compaction import AlignedBuffer, compacted, packed, read_model
from components.convert.recurrent.loop_writer import Loop, write_loop
from components.convert.recurrent.main_graph import Graph
from components.model.streaming import STATE_TENSOR
from components.upstream.tflite.objects import schema

# A loop over fewer time steps saves nothing.
_LEAST_STEPS = 3
_PACK, _UNPACK = schema.BuiltinOperator.PACK, schema.BuiltinOperator.UNPACK


def looped(content: bytes) -> bytes | None:
    """Replace the time steps of unrolled layers with loops.

    Args:
        content: A file in the sequence form.

    Returns:
        An equivalent compact file; None if the time steps of no layer are equal.
    """
    model = read_model(compacted(content))
    if len(model.subgraphs) != 1:
        return None
    graph = Graph(model)
    found = False
    for states in _states(graph):
        if (loop := _loop(graph, states)) is not None:
            write_loop(graph, loop)
            found = True
    if not found:
        return None
    graph.tidy()
    model.buffers = [
        AlignedBuffer(None if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes())
        for buffer in model.buffers
    ]
    # Only compaction removes buffers that nothing reads.
    return compacted(packed(model, len(content)))


def _states(graph: Graph) -> Iterator[list[dict[str, int]]]:
    """For each layer, the tensor of each state after each time step, in processing order."""
    found: dict[str, dict[int, dict[str, int]]] = {}
    for index, tensor in enumerate(graph.tensors):
        for layer, step, state in STATE_TENSOR.findall((tensor.name or b"").decode()):
            found.setdefault(layer, {}).setdefault(int(step), {}).setdefault(state, index)
    for steps in found.values():
        names = {frozenset(states) for states in steps.values()}
        if set(steps) == set(range(len(steps))) and len(names) == 1:
            yield [steps[step] for step in range(len(steps))]


def _loop(graph: Graph, states: list[dict[str, int]]) -> Loop | None:
    """The longest loop that computes the states, and the outputs of all time steps if they are read."""
    count = len(states)
    packs = (
        [
            operator
            for operator in graph.of_kind(_PACK)
            if len(operator.inputs) == count
            and graph.reads(int(operator.inputs[1]), {*states[0].values(), *states[1].values()})
        ]
        if count >= _LEAST_STEPS
        else []
    )
    for reads, writes in product((1, -1), (1, -1)):
        repeated = _Repeated(graph, states, packs, reads, writes)
        first = 0 if repeated.matches(0) else 1
        last = next((step for step in range(first, count) if not repeated.matches(step)), count)
        for end in (last, last - 1):
            complete = (first, end) == (0, count)
            if end - first >= _LEAST_STEPS and (complete or not packs) and repeated.closed(first, end):
                return repeated.loop(first, end)
    return None


@dataclass
class _Match:
    """How a time step corresponds to the pattern, which is the second time step.

    Attributes:
        tensors: Tensor of the pattern -> tensor of the time step, for tensors that its operators compute.
        before: State -> its tensor before the time step.
        slices: Tensor of the pattern that UNPACK returns -> its operator, and the index of the pattern's slice.
        outer: Tensors from outside that each time step reads.
    """

    tensors: dict[int, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)
    slices: dict[int, tuple[Any, int]] = field(default_factory=dict)
    outer: set[int] = field(default_factory=set)


class _Repeated:
    """Compares the time steps of a layer.

    Args:
        graph: The main graph.
        states: The tensors of the states after each time step.
        packs: Operators that stack the outputs of all time steps.
        reads, writes: Direction in which time steps read slices, and in which their outputs are stacked: 1 or -1.
    """

    def __init__(self, graph: Graph, states: list[dict[str, int]], packs: list[Any], reads: int, writes: int) -> None:
        self._graph, self._states, self._packs = graph, states, packs
        self._reads, self._writes = reads, writes
        self._found: dict[int, _Match | None] = {}
        self._names = {index: name for name, index in states[0].items()}

    def matches(self, step: int) -> bool:
        """Whether a time step has the operators, weights, and scales of the pattern."""
        return self._match(step) is not None

    def _match(self, step: int) -> _Match | None:
        if step not in self._found:
            match = _Match()
            seeds = zip(self._seeds(1), self._seeds(step), strict=True)
            whole = all(self._same(pattern, tensor, step, match) for pattern, tensor in seeds)
            self._found[step] = match if whole else None
        return self._found[step]

    def _seeds(self, step: int) -> list[int]:
        place = step if self._writes == 1 else len(self._states) - 1 - step
        return [*self._states[step].values(), *(int(pack.inputs[place]) for pack in self._packs)]

    def _same(self, pattern: int, tensor: int, step: int, match: _Match) -> bool:
        graph = self._graph
        if not graph.alike(pattern, tensor):
            return False
        if (state := self._names.get(pattern)) is not None:
            held = match.before.setdefault(state, tensor)
            return held == tensor and (step == 0 or tensor == self._states[step - 1][state])
        if pattern in match.tensors:
            return match.tensors[pattern] == tensor
        ours, other = graph.producer(pattern), graph.producer(tensor)
        if ours is None:
            return other is None and (pattern == tensor or graph.equal_constants(pattern, tensor))
        if graph.kind(ours) == _UNPACK:
            place = list(map(int, ours.outputs)).index(pattern)
            wanted = place + self._reads * (step - 1)
            match.slices[pattern] = (ours, place)
            return other is ours and 0 <= wanted < len(ours.outputs) and int(ours.outputs[wanted]) == tensor
        if pattern == tensor and step != 1:
            match.outer.add(tensor)
            return True
        if other is None or not graph.same_operator(ours, other):
            return False
        match.tensors[pattern] = tensor
        return all(
            self._same(mine, theirs, step, match)
            for mine, theirs in zip(map(int, ours.inputs), map(int, other.inputs), strict=True)
        )

    def closed(self, first: int, end: int) -> bool:
        """Whether nothing outside reads results of the time steps other than their last states and stacked outputs."""
        graph = self._graph
        steps = [match for step in range(first, end) if (match := self._match(step)) is not None]
        computed = {tensor for match in steps for tensor in match.tensors.values()}
        inside = {id(graph.producer(tensor)) for tensor in computed} | {id(pack) for pack in self._packs}
        last = set(self._states[end - 1].values())
        outer = [match.outer for match in steps if match.outer]
        return (
            len({len(match.slices) for match in steps}) == 1
            and not any(outer)
            and len({place for match in steps for _, place in match.slices.values()}) <= 1
            and all(
                tensor in last or all(id(reader) in inside for reader in graph.readers(tensor))
                for tensor in computed - graph.returned
            )
            and not (computed & graph.returned) - last
        )

    def loop(self, first: int, end: int) -> Loop:
        """The loop over the time steps from `first` to before `end`."""
        pattern, begin = self._match(1), self._match(first)
        assert pattern is not None and begin is not None
        place = next(place for _, place in pattern.slices.values())
        return Loop(
            operators=self._graph.in_order({id(self._graph.producer(tensor)) for tensor in pattern.tensors}),
            start=place + self._reads * (first - 1),
            count=end - first,
            stride=self._reads,
            before={index: begin.before[name] for index, name in self._names.items()},
            after={index: self._states[1][name] for index, name in self._names.items()},
            returned={index: self._states[end - 1][name] for index, name in self._names.items()},
            slices={tensor: operator for tensor, (operator, _) in pattern.slices.items()},
            stacked={
                int(pack.outputs[0]): int(pack.inputs[1 if self._writes == 1 else end - 2]) for pack in self._packs
            },
            appends=self._writes == 1,
        )
