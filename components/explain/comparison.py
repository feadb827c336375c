"""The comparison of two files, operator by operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.explain.errors import TensorErrors
from components.explain.graph import Array, Graph, Operator, Tensor


@dataclass(frozen=True, eq=False)
class Measured:
    """One operator, or one input of the model, with its errors.

    Attributes:
        operator: The operator of the float file; None for an input of the model.
        counterpart: The candidate's operator; None for an input of the model.
        output: Index of its output in the float file.
        held: The candidate's tensor for that output.
        errors: Its errors.
    """

    operator: Operator | None
    counterpart: Operator | None
    output: int
    held: Tensor
    errors: TensorErrors


@dataclass(frozen=True, eq=False)
class Comparison:
    """The comparison of two files.

    Attributes:
        reference, candidate: The files.
        measured: The errors, in the order of execution, the inputs of the model first.
        weights: Index of a constant of the float file -> the candidate's real values.
        outputs: Name of a model output -> its index in the float file.
        examples: Number of examples.
        unmatched: Number of the float file's operators without a counterpart.
    """

    reference: Graph
    candidate: Graph
    measured: tuple[Measured, ...]
    weights: Mapping[int, Array]
    outputs: Mapping[str, int]
    examples: int
    unmatched: int
