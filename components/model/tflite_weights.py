"""The weight tensors of a TFLite file, the operators that use them, and whether DENSIFY unpacks them first."""

from __future__ import annotations

from typing import Any

from components.core.values import FrozenModel
from components.facts.conversion import TensorFact
from components.model.tflite_file import _fact, _names, constant_of
from components.upstream.tflite.schema import load_schema

# Operators with weight tensors (not tables or shapes), and the positions of these tensors among their inputs.
_WEIGHTS = {
    "FULLY_CONNECTED": (1,),
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "CONV_3D": (1,),
    "TRANSPOSE_CONV": (1,),
    "BATCH_MATMUL": (0, 1),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 9)),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
}


class WeightUse(FrozenModel):
    """One weight tensor of a file.

    Attributes:
        fact: The tensor.
        operator: The operator that uses it.
        encoding: `dense`, `sparse` (value by value), or the block shape, such as `1x4`.
        densify: Whether DENSIFY is between the tensor and the operator.
    """

    fact: TensorFact
    operator: str
    encoding: str
    densify: bool


def weight_uses(content: bytes) -> tuple[WeightUse, ...]:
    """The constant weight tensors of a file that `inspect_model` can read, each once, in the order of its operators."""
    model = load_schema().Model.GetRootAs(content, 0)
    builtins = _names(load_schema().BuiltinOperator)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    names = [builtins[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]
    uses: dict[tuple[int, int], WeightUse] = {}
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
        # Weights reach an operator as stored, unpacked by DENSIFY, or widened from float16 by DEQUANTIZE.
        sources = {
            int(operator.Outputs(0)): (int(operator.Inputs(0)), names[operator.OpcodeIndex()])
            for operator in operators
            if names[operator.OpcodeIndex()] in {"DENSIFY", "DEQUANTIZE"}
        }
        for operator in operators:
            name = names[operator.OpcodeIndex()]
            for position in _WEIGHTS.get(name, ()):
                index = int(operator.Inputs(position)) if position < operator.InputsLength() else -1
                densify = False
                while index in sources:
                    index, through = sources[index]
                    densify |= through == "DENSIFY"
                if index < 0:
                    continue  # An omitted optional input.
                tensor = graph.Tensors(index)
                data = constant_of(model, content, tensor)
                fact = _fact(tensor, data if data.size else None, index)
                if fact.bytes and len(fact.shape) >= 2:
                    use = WeightUse(fact=fact, operator=name, encoding=_encoding(tensor), densify=densify)
                    uses.setdefault((number, index), use)
    return tuple(uses.values())


def _encoding(tensor: Any) -> str:
    sparsity = tensor.Sparsity()
    if sparsity is None:
        return "dense"
    blocks = [
        int(sparsity.DimMetadata(index).DenseSize())
        for index in range(tensor.ShapeLength(), sparsity.DimMetadataLength())
    ]
    if not blocks:
        return "sparse"
    sizes = [1] * tensor.ShapeLength()
    for dimension, size in zip(sparsity.BlockMapAsNumpy().tolist(), blocks, strict=True):
        sizes[dimension] = size
    return "x".join(map(str, sizes))
