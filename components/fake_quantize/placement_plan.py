"""The graph that quantizers are placed in, and the plan of where they go. Needs no TensorFlow."""

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
        name: The layer's; twice where a shared layer is called twice.
        origin: The layer of the user's model that it comes from.
        kind: Class name.
        activation: Of an `Activation` layer, the function's name; of a `ReLU`, `relu`, `relu6` or None for
            others; of an `IntegerRecurrent`, the kind of its cell.
        inputs: Names of the layers that its inputs come from.
        is_float: Whether its output is of floats.
        refusal: Reason and remedy, of a recurrent layer that cannot be written out.
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
    """What one layer of the rewritten model gets.

    Attributes:
        policy: How.
        role: What it is to quantization.
        weights: Whether its weights are quantized.
        output: Whether its output gets a range: trained, or prescribed by the kernel (`fixed`).
    """

    policy: LayerPolicy
    role: Role
    weights: bool = False
    output: Literal["none", "range", "fixed"] = "none"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.weights or self.output != "none" or self.policy.config)


@dataclass
class Plan:
    """Where quantizers go.

    Attributes:
        places: Layer of the rewritten model -> what it gets.
        input_quantizers: Layers whose output has no range and is read by a kernel of integers -> the reader's policy.
        model_io: Those of them that are inputs or outputs of the model: whatever reads them reads the quantized values.
        joined: LSTMs or SRUs whose outputs have one range, since they are concatenated: both directions of a
            `Bidirectional`. The concatenation has none of its own.
        layers: What becomes of each layer of the user's model, in order.
        refused: Layers of the user's model that cannot be quantized, with reason and remedy.
    """

    places: dict[str, QuantizerSlot]
    input_quantizers: dict[str, LayerPolicy]
    model_io: set[str] = field(default_factory=set)
    joined: list[tuple[str, ...]] = field(default_factory=list)
    layers: tuple[LayerPlan, ...] = ()
    refused: list[tuple[Node, str, str]] = field(default_factory=list)

    def refuse(self) -> None:
        """Raise a ModelError that names every refused layer with its remedy, if there is one."""
        if not self.refused:
            return
        told = "; ".join(
            f"{node.origin} ({kind_of(node)}): {reason}; {remedy}" for node, reason, remedy in self.refused
        )
        names = ", ".join(dict.fromkeys(node.origin for node, _, _ in self.refused))
        raise ModelError(
            f"quantization-aware training cannot make integers of {told}",
            where=f"layer {names}",
            bound="layers that TensorFlow Lite's integer kernels can run",
            remedy=f"change these layers as told, or leave them float: `except: [{names}]` in the step and "
            "`float_fallback: true` in the scheme",
        )


def kind_of(node: Node) -> str:
    """The kind of a node's layer as reports name it: its class, with the function of an activation layer."""
    if node.kind == INTEGER_RECURRENT:
        return str(node.activation)
    return f"{node.kind} {node.activation}" if node.kind == "Activation" else node.kind
