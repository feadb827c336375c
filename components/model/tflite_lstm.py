"""The tensors of fused recurrent operators, by their role in the operator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from components.facts.conversion import CellTensor, FusedCell, TensorFact

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


def fused_cells(model: Any, subgraphs: Sequence[Any], facts: Sequence[TensorFact]) -> Iterator[FusedCell]:
    """The fused recurrent operators of a file.

    Args:
        model: TensorFlow's reader of the file.
        subgraphs: Its subgraphs.
        facts: The facts of all tensors, in the order of the subgraphs.
    """
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
