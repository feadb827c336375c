"""The graph that quantizers are placed in, the plan of their placement, and its description. Without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from components.core.errors import ModelError
from components.facts.training import LayerPlan
from components.fake_quantize.layer_policy import LayerPolicy
from components.fake_quantize.layers import INTEGER_RECURRENT, WEIGHTED, Role
from components.fake_quantize.operators.table import OPERATOR


@dataclass(frozen=True)
class Node:
    """One call of a layer in a rewritten model.

    Attributes:
        name: The layer's name. A shared layer has one node per call, all with the same name.
        origin: Name of the layer of the user's model that it comes from.
        kind: Class name.
        activation: For an `Activation` layer, the function's name. For a `ReLU`, `relu`, `relu6`, or None if it is
            another variant. For an `IntegerRecurrent`, the kind of its cell. For an `Operator`, its function.
        inputs: Names of the layers that its inputs come from.
        is_float: Whether its outputs are floats.
        refusal: The reason and how to fix it, for a recurrent layer that cannot be lowered or a layer that uses a mask.
    """

    name: str
    origin: str
    kind: str
    inputs: tuple[str, ...]
    activation: str | None = None
    is_float: bool = True
    refusal: tuple[str, str] | None = None


@dataclass
class QuantizerSlot:
    """The quantizers of one layer of the rewritten model.

    Attributes:
        policy: How the layer is quantized.
        role: Its role in quantization.
        weights: Whether its weights are quantized.
        output: Whether its output gets a range, either trained (`range`) or prescribed by the kernel (`fixed`).
        limits: The smallest and largest value of a prescribed range; None for the kernels of 16 bits.
    """

    policy: LayerPolicy
    role: Role
    weights: bool = False
    output: Literal["none", "range", "fixed"] = "none"
    limits: tuple[float, float] | None = None

    @property
    def empty(self) -> bool:
        """Whether the layer gets no quantizer."""
        return not (self.weights or self.output != "none" or self.policy.config)


@dataclass
class Plan:
    """The placement of quantizers.

    Attributes:
        places: Layer of the rewritten model -> its quantizers.
        input_quantizers: Layers whose output has no range and is read by an integer kernel -> the reader's policy.
        model_io: The subset of these that are inputs or outputs of the model. All their readers, float ones included,
            read the quantized values.
        joined: LSTMs or SRUs whose outputs share one range because they are concatenated, such as both directions of a
            `Bidirectional`. The concatenation has no separate range.
        layers: How each layer of the user's model is quantized, in order.
        refused: Layers of the user's model that cannot be quantized, with the reason and how to fix it.
    """

    places: dict[str, QuantizerSlot]
    input_quantizers: dict[str, LayerPolicy]
    model_io: set[str] = field(default_factory=set)
    joined: list[tuple[str, ...]] = field(default_factory=list)
    layers: tuple[LayerPlan, ...] = ()
    refused: list[tuple[Node, str, str]] = field(default_factory=list)

    def refuse(self) -> None:
        """Raise a ModelError if layers are refused. It names each of them and how to fix it."""
        if not self.refused:
            return
        reasons = "; ".join(
            f"{node.origin} ({kind_of(node)}): {reason}; {remedy}" for node, reason, remedy in self.refused
        )
        names = ", ".join(dict.fromkeys(node.origin for node, _, _ in self.refused))
        raise ModelError(
            f"quantization-aware training cannot quantize {reasons}",
            where=f"layer {names}",
            bound="layers that TensorFlow Lite's integer kernels can run",
            remedy=f"change these layers as described, or leave them in float: `except: [{names}]` in the step and "
            "`float_fallback: true` in the scheme",
        )


def kind_of(node: Node) -> str:
    """The kind of a node's layer in reports: its class, followed by the function of an activation layer."""
    if node.kind == INTEGER_RECURRENT:
        return str(node.activation)
    if node.kind == OPERATOR:
        return f"tf.{node.activation}"
    return f"{node.kind} {node.activation}" if node.kind == "Activation" else node.kind


def layer_plans(
    nodes: Sequence[Node], plan: Plan, kinds: Mapping[str, str], notes: Mapping[str, str]
) -> Iterable[LayerPlan]:
    """Describe how each layer of the user's model is quantized. Classes and notes are keyed by the layers' names."""
    refused = {node.origin: f"{reason}; {remedy}" for node, reason, remedy in plan.refused}
    members: dict[str, list[Node]] = {origin: [] for origin, kind in kinds.items() if kind != "InputLayer"}
    for node in nodes:
        if node.origin in members:
            members[node.origin].append(node)
    for origin, own in members.items():
        if not own:
            yield LayerPlan(
                layer=origin, kind=kinds[origin], mode="trained", outputs="none", note=notes.get(origin, "")
            )
            continue
        places = [plan.places[node.name] for node in own]
        weighted = [made for made in places if made.weights or made.role == "recurrent"]
        policy = weighted[0].policy if weighted else places[-1].policy
        # The last range of a layer is its output's. Without one, its kernel is more informative than a reshape after
        # it.
        ends = [made for made in places if made.output != "none"] or [m for m in places if m.role != "passing"]
        enters = any(name in plan.input_quantizers for node in own for name in node.inputs)
        remarks = [notes.get(origin, ""), "its input also gets a range" if enters else ""]
        recurrent = [node for node in own if plan.places[node.name].role == "recurrent"]
        carrying = [node for node in own if plan.places[node.name].weights] + recurrent
        weights = " and ".join(dict.fromkeys(_weights(node, plan) for node in carrying))
        yield LayerPlan(
            layer=origin,
            kind=kind_of(own[-1]) if kinds[origin] in {"Activation", OPERATOR} else kinds[origin],
            mode="refused" if origin in refused else policy.mode,
            weights=weights,
            outputs=_recurrent_outputs(recurrent[0], policy) if recurrent else _outputs((ends or places)[-1]),
            note=refused.get(origin) or "; ".join(filter(None, remarks)),
        )


def _weights(node: Node, plan: Plan) -> str:
    policy = plan.places[node.name].policy
    if plan.places[node.name].role == "recurrent":
        suffix = "" if policy.trains_weights else ", after training"
        return "" if policy.mode == "float" else f"int{policy.weight_bits} per gate{suffix}"
    if policy.weight_quantizer is not None:
        return policy.weight_quantizer.object
    per = "per channel" if policy.per_channel and WEIGHTED[node.kind][1] else "per tensor"
    return f"int{policy.weight_bits} {per}" + ("" if policy.trains_weights else ", after training")


def _recurrent_outputs(node: Node, policy: LayerPolicy) -> str:
    if policy.mode == "float":
        return "float"
    inside = ", 16 bits inside" if node.activation == "LSTM" else ""
    return f"int{policy.activation_bits} at each step{inside}"


def _outputs(made: QuantizerSlot) -> str:
    policy = made.policy
    if policy.mode == "float":
        return "float"
    if policy.config:
        return f"by {policy.config}"
    if made.output == "range":
        how = policy.activations
        if how is None or policy.mode == "observed":
            return f"int{policy.activation_bits}, range applied after training"
        ours = "extremes of an epoch" if policy.extremes else how.quantizer.kind.replace("_", " ")
        own = how.quantizer.object if how.quantizer.kind == "own" else ours
        return f"int{policy.activation_bits}, {own}"
    return {"passing": "as its input", "fixed": "range fixed by the kernel"}.get(made.role, "inside the kernel")
