"""The layers of a float TFLite file, which can be quantized or kept in float separately. Imports TensorFlow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from components.convert.compaction import read_model
from components.core.errors import SpecError, some_of
from components.upstream.tflite.objects import schema

# Operators that only move values. Integers keep the scale of the input, so that quantization adds no error.
_MOVING = frozenset(
    {"BROADCAST_TO", "EXPAND_DIMS", "GATHER", "GATHER_ND", "MAX_POOL_2D", "MIRROR_PAD", "PACK", "PAD", "RESHAPE"}
    | {"RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK"}
)
# Operators that compute, but whose output scale is fixed by TFLite (`_FIXED`) or the scale of the input (the others).
_FIXED = frozenset({"LOGISTIC", "SOFTMAX", "TANH"})
_SCALED_OTHERWISE = _FIXED | frozenset({"AVERAGE_POOL_2D", "REDUCE_MIN", "RESIZE_BILINEAR"})
# Operators with a separate output range and no weights. If the input of such an operator is clipped, so are the
# extremes of its output.
_MADE_OF_INPUTS = frozenset(
    {"ABS", "ADD", "ADD_N", "CONCATENATION", "DIV", "ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "MAXIMUM", "MEAN"}
    | {"MINIMUM", "MUL", "NEG", "PRELU", "REDUCE_MAX", "RELU", "RELU6", "SUB", "SUM"}
)
# The name of a fused operator begins with its activation. These identify the part of the name that is the layer.
_COMPUTING = ("Conv2D", "MatMul", "DepthwiseConv2dNative", "depthwise", "Conv2DTranspose", "conv2d_transpose")


@dataclass(frozen=True)
class Operator:
    """One operator of the main subgraph with float inputs or outputs.

    Attributes:
        kind: Name of the builtin (`CONV_2D`).
        inputs: Names of its input tensors, including constants.
        outputs: Names of its output tensors.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """The operators under one name path, and the operators that only move their outputs."""

    name: str
    operators: tuple[Operator, ...]


@dataclass(frozen=True)
class Graph:
    """The facts about a float file that range injection needs.

    Attributes:
        layers: Layers in the order of execution. Operators that only move the values of a model input are in no layer.
        operators: All operators with float inputs or outputs.
        activations: Name -> index of the float tensors that are model inputs or computed.
        inputs, outputs: Names of the model's input and output tensors.
        kinds: Kinds of all operators, including those without float inputs and outputs.
        exported: Name of an output in the signature -> name of its tensor.
    """

    layers: tuple[Layer, ...]
    operators: tuple[Operator, ...]
    activations: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kinds: frozenset[str]
    exported: Mapping[str, str]

    def ranged(self) -> tuple[str, ...]:
        """The activations whose range is estimated, rather than taken from another tensor or fixed by TFLite."""
        given = {
            name
            for operator in self.operators
            if operator.kind in _MOVING | _SCALED_OTHERWISE
            for name in operator.outputs
        }
        return tuple(name for name in self.activations if name not in given)

    def final_kind(self, output: str | None = None) -> str:
        """The kind of the operator that computes an output, skipping those that only move values; or "".

        Args:
            output: Its name in the signature; None for the only one.
        """
        makers = {name: operator for operator in self.operators for name in operator.outputs}
        maker = makers.get(self.outputs[0] if output is None else self.exported.get(output, output))
        while maker is not None and maker.kind in _MOVING:
            maker = makers.get(maker.inputs[0])
        return maker.kind if maker is not None else ""

    def ends(self) -> frozenset[str]:
        """The model's outputs, and the activations that they depend on through operators without weights only."""
        sources = {
            name: operator.inputs
            for operator in self.operators
            if operator.kind in (_MOVING | _SCALED_OTHERWISE | _MADE_OF_INPUTS) - _FIXED
            for name in operator.outputs
        }
        found: set[str] = set()
        pending = list(self.outputs)
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending += [source for source in sources.get(name, ()) if source in self.activations]
        return frozenset(found)


def read_graph(content: bytes) -> Graph:
    """Read the main subgraph of a float file that `convert` wrote."""
    model = read_model(content)
    graph = model.subgraphs[0]
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    codes = [kinds[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    names = [tensor.name.decode() for tensor in graph.tensors]
    floats = {names[index] for index, tensor in enumerate(graph.tensors) if tensor.type == schema.TensorType.FLOAT32}
    exported = {
        names[entry.tensorIndex]: entry.name.decode() for one in model.signatureDefs or () for entry in one.outputs
    }
    computed = [int(index) for operator in graph.operators for index in operator.outputs]
    given = [int(index) for index in graph.inputs]
    operators = [
        Operator(
            kind=codes[operator.opcodeIndex],
            inputs=tuple(names[index] for index in operator.inputs if index >= 0),
            outputs=tuple(names[index] for index in operator.outputs if index >= 0),
        )
        for operator in graph.operators
    ]
    operators = [one for one in operators if floats & {*one.inputs, *one.outputs}]
    return Graph(
        layers=_layers(operators, exported),
        operators=tuple(operators),
        activations={names[index]: index for index in (*given, *computed) if names[index] in floats},
        inputs=tuple(names[index] for index in given),
        outputs=tuple(names[int(index)] for index in graph.outputs),
        kinds=frozenset(codes[operator.opcodeIndex] for operator in graph.operators),
        exported={
            entry.name.decode(): names[entry.tensorIndex] for one in model.signatureDefs or () for entry in one.outputs
        },
    )


def matching(layers: Sequence[Layer], patterns: Iterable[str]) -> tuple[Layer, ...]:
    """The layers that match shell patterns, in the order of the model.

    Raises:
        SpecError: A pattern matches no layer.
    """
    names = [layer.name for layer in layers]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern.strip("*/"), names, n=3, cutoff=0.3)
            raise SpecError(
                f"no layer of the model matches {pattern!r}",
                where="keep_float",
                bound=f"a pattern of one of {some_of(names, 20)}",
                measured=pattern,
                remedy=f"name {' or '.join(map(repr, near or names[:3]))}, or a pattern such as '*/dense*'",
            )
    return tuple(layer for layer in layers if any(fnmatchcase(layer.name, pattern) for pattern in patterns))


def _layers(operators: Sequence[Operator], exported: Mapping[str, str]) -> tuple[Layer, ...]:
    members: dict[str, list[Operator]] = {}
    producer: dict[str, str] = {}
    for operator in operators:
        if operator.kind in _MOVING:
            name = next((producer[tensor] for tensor in operator.inputs if tensor in producer), None)
        else:
            name = _layer_name(operator.outputs[0], exported)
        if name is not None:
            members.setdefault(name, []).append(operator)
            producer.update(dict.fromkeys(operator.outputs, name))
    return tuple(Layer(name, tuple(those)) for name, those in members.items())


def _layer_name(tensor: str, exported: Mapping[str, str]) -> str:
    """`model/conv` for `model/relu/Relu;model/conv/Conv2D`. A tensor name without a path is the layer's name."""
    parts = [part for part in tensor.split(";") if "/" in part]
    if not parts:
        return exported.get(tensor, tensor.partition(":")[0])
    part = next((part for part in parts if part.rpartition("/")[2].rstrip("_0123456789") in _COMPUTING), parts[0])
    return part.rpartition("/")[0].removeprefix("StatefulPartitionedCall/")


def float_tensors_of(layers: Iterable[Layer]) -> frozenset[str]:
    """Names of the input, constant, and output tensors of layers, which are float if the layers stay in float."""
    return frozenset(
        name for layer in layers for operator in layer.operators for name in (*operator.inputs, *operator.outputs)
    )


def kinds_of(layer: Layer) -> tuple[str, ...]:
    """The distinct kinds of a layer's operators."""
    return tuple(dict.fromkeys(operator.kind for operator in layer.operators))
