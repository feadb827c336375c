"""Runs a float file and a candidate on the same examples, and sums the errors of each operator. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from components.core.errors import ModelError
from components.explain.comparison import Comparison, Measured
from components.explain.errors import TensorErrors
from components.explain.graph import Array, Graph, Operator
from components.explain.isolated import taken_apart, weights_of
from components.explain.matching import STORAGE, match
from components.model.streaming import state_pairs, zero_state
from components.model.tflite_flags import by_name
from components.ranges.affine import quantize
from components.upstream.tflite.interpreter import interpreter

# Maximum number of runs of a file of one time step over all sequences.
MOST_RUNS = 512


def compare(reference: bytes, candidate: bytes, examples: Iterable[Mapping[str, Array]]) -> Comparison:
    """Compare a candidate with its float file.

    Args:
        reference: The float file.
        candidate: The file that was made from it.
        examples: Model input -> array [1, ...] in real values; "" names the only input. A file of one time step
            takes sequences [1, time, ...].

    Raises:
        ModelError: The files have different inputs or outputs, or the runtime rejects one.
        DataError: A NaN cannot be quantized.
    """
    ours, theirs = _File(reference), _File(candidate)
    for side in ("inputs", "outputs"):
        _check_names(getattr(ours, side), getattr(theirs, side), side)
    taken = {ours.inputs[name]["index"]: detail["index"] for name, detail in theirs.inputs.items()}
    given = {ours.outputs[name]["index"]: detail["index"] for name, detail in theirs.outputs.items()}
    matched = match(ours.graph, theirs.graph, taken, given)
    rows: list[Measured] = [
        _row(ours.graph, theirs.graph, None, None, index, matched.tensors[index])
        for index in ours.graph.inputs
        if ours.graph.tensors[index].is_float and index in matched.tensors
    ]
    for place, other in matched.operators.items():
        one = ours.graph.operators[place]
        # A loop also returns its counters.
        index = next((each for each in one.outputs if ours.graph.tensors[each].is_float), None)
        if one.kind not in STORAGE and index is not None:
            rows.append(_row(ours.graph, theirs.graph, one, other, index, matched.tensors[index]))
    weights: dict[int, Array] = {}
    alone: tuple[_Apart, _Apart] | None = None
    count = 0
    for example in examples:
        if theirs.runs >= MOST_RUNS:
            break
        count += 1
        for _ in _in_step(ours, theirs, example):
            if alone is None:
                weights = weights_of(ours.graph, theirs.graph, matched.operators, theirs.read)
                alone = _Apart(ours.graph, {}), _Apart(ours.graph, weights)
            values = {index: theirs.real(held) for index, held in matched.tensors.items()}
            found = [each.run(values, ours) for each in alone]
            for row in rows:
                wanted = ours.real(row.output)
                apart = [each.get(row.output, wanted) for each in found]
                row.errors.add(wanted, values[row.output], *apart)
    skipped = {one.index for one in ours.graph.operators if one.kind in STORAGE}
    return Comparison(
        reference=ours.graph,
        candidate=theirs.graph,
        measured=tuple(rows),
        weights=weights,
        outputs={name: detail["index"] for name, detail in ours.outputs.items()},
        examples=count,
        unmatched=len(set(range(len(ours.graph.operators))) - skipped - set(matched.operators)),
    )


class _File:
    """A loaded file, all of whose tensors can be read after a run."""

    def __init__(self, content: bytes) -> None:
        self.graph, self.runs = Graph(content), 0
        self._interpreter = _loaded(content)
        self.inputs = by_name(self._interpreter, "inputs")
        self.outputs = by_name(self._interpreter, "outputs")
        self.pairs = state_pairs(self.inputs, self.outputs)

    def begin(self) -> None:
        """Reset the state from earlier examples."""
        self._interpreter.reset_all_variables()
        for name in self.pairs:
            detail = self.inputs[name]
            shape, (_, zero_point) = detail["shape"], detail["quantization"]
            self._interpreter.set_tensor(detail["index"], zero_state(1, shape[1:], detail["dtype"], zero_point))

    def run(self, inputs: Mapping[str, Array]) -> None:
        """Run once."""
        self.runs += 1
        for name, values in inputs.items():
            detail = self.inputs[name]
            scale, zero_point = detail["quantization"]
            dtype = detail["dtype"]
            raw = quantize(values, scale, zero_point, dtype) if scale else np.asarray(values).astype(dtype)
            self._interpreter.set_tensor(detail["index"], raw.reshape(detail["shape"]))
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise _rejected(error) from error

    def end(self) -> None:
        """Pass states on to the next time step."""
        held = {name: self._interpreter.get_tensor(self.outputs[given]["index"]) for name, given in self.pairs.items()}
        for name, values in held.items():
            self._interpreter.set_tensor(self.inputs[name]["index"], values)

    def read(self, index: int) -> Array:
        """The stored values of a tensor."""
        return np.asarray(self._interpreter.get_tensor(index))

    def real(self, index: int) -> Array:
        """The real values of a tensor, float64."""
        return self.graph.tensors[index].real(self.read(index))


class _Apart:
    """The float operators, each of which computes from given values."""

    def __init__(self, graph: Graph, constants: Mapping[int, Array]) -> None:
        content, self._given, self._returned = taken_apart(graph, constants)
        self._graph, self._interpreter = graph, _loaded(content)
        self._places = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._results = [detail["index"] for detail in self._interpreter.get_output_details()]

    def run(self, values: Mapping[int, Array], reference: _File) -> dict[int, Array]:
        """Index of each float activation -> its operator's output for the values, or for the float file's own."""
        self._interpreter.reset_all_variables()
        for index, place in zip(self._given, self._places, strict=True):
            own = reference.read(index)
            held = values.get(index)
            taken = own if held is None or held.shape != own.shape else held.astype(own.dtype)
            self._interpreter.set_tensor(place, taken)
        self._interpreter.invoke()
        return {
            index: np.asarray(self._interpreter.get_tensor(place), np.float64)
            for index, place in zip(self._returned, self._results, strict=True)
            if self._graph.tensors[index].is_float
        }


def _loaded(content: bytes) -> Any:
    try:
        loaded = interpreter(content, keeps_all_tensors=True)
        loaded.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise _rejected(error) from error
    return loaded


def _in_step(ours: _File, theirs: _File, example: Mapping[str, Array]) -> Iterator[None]:
    """Run both files on an example, and yield after each run."""
    names = [name for name in ours.inputs if name not in ours.pairs]
    named = {names[0]: example[""]} if set(example) == {""} and len(names) == 1 else dict(example)
    if set(named) != set(names):
        raise ModelError(
            "the decoded examples don't have the inputs of the model",
            where="examples",
            bound=", ".join(sorted(names)),
            measured=", ".join(sorted(named)),
            remedy="make the task's decode() return exactly the model's inputs, by name",
        )
    for each in (ours, theirs):
        each.begin()
    steps: Iterable[Mapping[str, Array]] = [named]
    if theirs.pairs:
        length = next(iter(named.values())).shape[1]
        steps = ({name: values[:, step] for name, values in named.items()} for step in range(length))
    for step in steps:
        for each in (ours, theirs):
            each.run(step)
        yield
        for each in (ours, theirs):
            each.end()


def _row(
    reference: Graph, candidate: Graph, one: Operator | None, other: Operator | None, output: int, held: int
) -> Measured:
    tensor = candidate.tensors[held]
    limits, step = None, 0.0
    if tensor.limits is not None and tensor.scales.size == 1:
        step, zero = float(tensor.scales[0]), float(tensor.zero_points[0])
        limits = ((tensor.limits[0] - zero) * step, (tensor.limits[1] - zero) * step)
    parts: tuple[int, ...] = ()
    axis = -1
    if one is not None and one.axis is not None:
        axis = one.axis
        parts = tuple(reference.tensors[index].shape[axis] for index in one.inputs)
    return Measured(one, other, output, tensor, TensorErrors(limits, step, parts, axis))


def _check_names(ours: Mapping[str, Any], theirs: Mapping[str, Any], side: str) -> None:
    if set(ours) != set(theirs):
        raise ModelError(
            f"the float file and the candidate have different {side}",
            where="TFLite file",
            bound=", ".join(sorted(ours)),
            measured=", ".join(sorted(theirs)),
            remedy="compare the candidate with the float file of the same model and form",
        )


def _rejected(error: Exception) -> ModelError:
    return ModelError(
        f"the TFLite runtime rejects a file: {str(error).strip()}",
        where="TFLite file",
        remedy="look at the operator in the message with `edgemill inspect`",
    )
