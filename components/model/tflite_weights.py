"""The weights of a TFLite file with what computes with them, and whether they are unpacked before."""

from __future__ import annotations

from typing import Any

from components.core.values import FrozenModel
from components.facts.conversion import TensorFact
from components.model.tflite_file import _fact, _names, constant_of
from components.upstream.tflite.schema import load_schema

# Operators with kernels (weights, not tables or shapes), and which of their inputs these are.
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
    """One kernel of a file.

    Attributes:
        fact: The tensor.
        operator: What computes with it.
        encoding: `dense`, `sparse` (value by value), or the blocks: `1x4`.
        densify: Whether DENSIFY stands between the two.
    """

    fact: TensorFact
    operator: str
    encoding: str
    densify: bool


def weight_uses(content: bytes) -> tuple[WeightUse, ...]:
    """The constant kernels of a file that `inspect_model` can read, in the order of its operators; each once."""
    model = load_schema().Model.GetRootAs(content, 0)
    builtins = _names(load_schema().BuiltinOperator)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    names = [builtins[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]
    uses: dict[tuple[int, int], WeightUse] = {}
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
        # Weights reach a kernel as they are stored, unpacked, or (float16) widened.
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
                    continue  # an optional input that is not there
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
