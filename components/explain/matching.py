"""Finds the operator of a float file that each operator of a quantized file computes, by the structure of the graphs.

Names alone don't identify operators, because the converter generates many of them, and compaction removes the generated
ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.explain.graph import Graph, Operator

# Operators that only change how a tensor is stored.
STORAGE = frozenset({"QUANTIZE", "DEQUANTIZE", "DENSIFY"})
# Operators that only move values, and keep their scale.
MOVING = frozenset(
    {"EXPAND_DIMS", "MAX_POOL_2D", "PACK", "PAD", "RESHAPE", "SLICE", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE"}
)


@dataclass(frozen=True)
class Matched:
    """The parts of two files that compute the same.

    Attributes:
        operators: Index of a float operator -> the operator of the candidate, in the order of the float file.
        tensors: Index of an activation of the float file -> index of the tensor for it in the candidate, with integers
            if it has them.
    """

    operators: dict[int, Operator]
    tensors: dict[int, int]


def match(reference: Graph, candidate: Graph, inputs: dict[int, int], outputs: dict[int, int]) -> Matched:
    """Match two files from their outputs up to their inputs. A part that differs has no match.

    Args:
        reference: The float file.
        candidate: The file that was made from it.
        inputs, outputs: Index of a model input or output of the float file -> its index in the candidate.
    """
    operators: dict[int, Operator] = {}
    tensors = dict(inputs)
    # Names come last, for the parts before an operator that the files don't share.
    pending = [*_by_name(reference, candidate), *outputs.items()]
    while pending:
        ours, theirs = pending.pop()
        ours, theirs = reference.source(ours, STORAGE), candidate.source(theirs, STORAGE)
        one, other = reference.makers.get(ours), candidate.makers.get(theirs)
        if one is None or other is None or one.kind != other.kind or one.index in operators:
            continue
        if one.outputs.index(ours) != other.outputs.index(theirs) or len(one.outputs) != len(other.outputs):
            continue
        operators[one.index] = other
        tensors.update(zip(one.outputs, other.outputs, strict=True))
        pending += zip(one.inputs, other.inputs, strict=False)
    held = {ours: _held(candidate, theirs) for ours, theirs in tensors.items()}
    return Matched(dict(sorted(operators.items())), held)


def _by_name(reference: Graph, candidate: Graph) -> list[tuple[int, int]]:
    theirs = {one.name: one.index for one in candidate.tensors if one.name and one.index in candidate.makers}
    return [(one.index, theirs[one.name]) for one in reference.tensors if one.name in theirs]


def _held(candidate: Graph, index: int) -> int:
    """The quantized version of a float tensor, if operators read only that."""
    readers = candidate.readers.get(index, [])
    if candidate.tensors[index].is_float and readers and all(one.kind == "QUANTIZE" for one in readers):
        return readers[0].outputs[0]
    return index
