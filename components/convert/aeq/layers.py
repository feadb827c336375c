"""The layers of a float TFLite file: what can be quantized, or left float, by itself. Imports TensorFlow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from components.convert.compact.inline import read_model
from components.core.errors import SpecError
from components.core.wording import some_of
from components.upstream.tflite.objects import schema

# They only move values: integers keep the scale of what they are given, so that they add no error of their own.
_MOVING = frozenset(
    {"BROADCAST_TO", "EXPAND_DIMS", "GATHER", "GATHER_ND", "MAX_POOL_2D", "MIRROR_PAD", "PACK", "PAD", "RESHAPE"}
    | {"RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK"}
)
# They compute, and yet return integers of their input's scale; or of one that TFLite fixes.
_FIXED = frozenset({"LOGISTIC", "SOFTMAX", "TANH"})
_SCALED_OTHERWISE = _FIXED | frozenset({"AVERAGE_POOL_2D", "REDUCE_MIN", "RESIZE_BILINEAR"})
# They have a range of their own, and no weights that bound what a clipped input does to it: what an output is made of
# bounds its extremes.
_MADE_OF_INPUTS = frozenset(
    {"ABS", "ADD", "ADD_N", "CONCATENATION", "DIV", "ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "MAXIMUM", "MEAN"}
    | {"MINIMUM", "MUL", "NEG", "PRELU", "REDUCE_MAX", "RELU", "RELU6", "SUB", "SUM"}
)
# What the converter calls a fused operator begins with its activation: these tell which part is the layer's own.
_COMPUTING = ("Conv2D", "MatMul", "DepthwiseConv2dNative", "depthwise", "Conv2DTranspose", "conv2d_transpose")


@dataclass(frozen=True)
class Operator:
    """One operator of the main subgraph that takes or gives floats.

    Attributes:
        kind: Name of the builtin (`CONV_2D`).
        inputs: Names of its tensors, constants included.
        outputs: Names of its tensors.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """Operators that a user thinks of as one: those under one path of names, with what moves their values on."""

    name: str
    operators: tuple[Operator, ...]


@dataclass(frozen=True)
class Graph:
    """What injection needs to know of a float file.

    Attributes:
        layers: In order of execution; what only moves a model input's values belongs to none.
        operators: All that take or give floats.
        activations: Name -> index of the float tensors that are computed or given.
        inputs, outputs: Of the model.
    """

    layers: tuple[Layer, ...]
    operators: tuple[Operator, ...]
    activations: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def ranged(self) -> tuple[str, ...]:
        """The activations whose range in the file is an estimated one, not another tensor's nor fixed by TFLite."""
        given = {
            name
            for operator in self.operators
            if operator.kind in _MOVING | _SCALED_OTHERWISE
            for name in operator.outputs
        }
        return tuple(name for name in self.activations if name not in given)

    def final_kind(self) -> str:
        """The kind of the operator that computes the first output, behind what only moves its values; "" for none."""
        makers = {name: operator for operator in self.operators for name in operator.outputs}
        maker = makers.get(self.outputs[0])
        while maker is not None and maker.kind in _MOVING:
            maker = makers.get(maker.inputs[0])
        return maker.kind if maker is not None else ""

    def ends(self) -> frozenset[str]:
        """The model's outputs, and the activations that kernels without weights make them of: their range is theirs."""
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
    """Read the main subgraph of a float file that our converter made."""
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
    )


def matching(layers: Sequence[Layer], patterns: Iterable[str]) -> tuple[Layer, ...]:
    """The layers that shell patterns name, in the order of the model.

    Raises:
        SpecError: A pattern matches none.
    """
    names = [layer.name for layer in layers]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern.strip("*/"), names, n=3, cutoff=0.3)
            raise SpecError(
                f"no layer of the model is called {pattern!r}",
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
    """`model/conv` of `model/relu/Relu;model/conv/Conv2D`; an output of the model has no path but its own name."""
    parts = [part for part in tensor.split(";") if "/" in part]
    if not parts:
        return exported.get(tensor, tensor.partition(":")[0])
    part = next((part for part in parts if part.rpartition("/")[2].rstrip("_0123456789") in _COMPUTING), parts[0])
    return part.rpartition("/")[0].removeprefix("StatefulPartitionedCall/")


def float_tensors_of(layers: Iterable[Layer]) -> frozenset[str]:
    """Names of the tensors that layers take, hold and give: what is float if they are left float."""
    return frozenset(
        name for layer in layers for operator in layer.operators for name in (*operator.inputs, *operator.outputs)
    )


def kinds_of(layer: Layer) -> tuple[str, ...]:
    """The kinds of a layer's operators, each once."""
    return tuple(dict.fromkeys(operator.kind for operator in layer.operators))
