"""The graph that quantizers are placed in, and the plan of their placement. Needs no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from components.core.errors import ModelError
from components.facts.training import LayerPlan
from components.fake_quantize.layer_policy import LayerPolicy
from components.fake_quantize.layers import (
    INTEGER_RECURRENT,
    Role,
)


@dataclass(frozen=True)
class Node:
    """One call of a layer in a rewritten model.

    Attributes:
        name: The layer's name. A shared layer has one node per call, all with the same name.
        origin: Name of the layer of the user's model that it comes from.
        kind: Class name.
        activation: For an `Activation` layer, the function's name. For a `ReLU`, `relu`, `relu6`, or None if it is
            another variant. For an `IntegerRecurrent`, the kind of its cell.
        inputs: Names of the layers that its inputs come from.
        is_float: Whether its outputs are floats.
        refusal: For a recurrent layer that cannot be lowered, the reason and how to fix it.
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
    """

    policy: LayerPolicy
    role: Role
    weights: bool = False
    output: Literal["none", "range", "fixed"] = "none"

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
            `Bidirectional`. The concatenation has no range of its own.
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
            remedy=f"change these layers as described, or leave them float: `except: [{names}]` in the step and "
            "`float_fallback: true` in the scheme",
        )


def kind_of(node: Node) -> str:
    """The kind of a node's layer in reports: its class, followed by the function of an activation layer."""
    if node.kind == INTEGER_RECURRENT:
        return str(node.activation)
    return f"{node.kind} {node.activation}" if node.kind == "Activation" else node.kind
