"""Describes the plan of quantizers layer by layer, for previews and reports. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from components.facts.training import LayerPlan
from components.fake_quantize.layer_policy import LayerPolicy
from components.fake_quantize.layers import (
    WEIGHTED,
)
from components.fake_quantize.placement_plan import Node, Plan, QuantizerSlot


def layer_plans(
    nodes: Sequence[Node], plan: Plan, kinds: Mapping[str, str], notes: Mapping[str, str]
) -> Iterable[LayerPlan]:
    """Describe how each layer of the user's model is quantized.

    Args:
        nodes: The rewritten model's graph.
        plan: The placement of quantizers.
        kinds: Name of a layer of the user's model -> its class.
        notes: Name of a layer of the user's model -> how it was rewritten.
    """
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
        # The last range of a layer is that of its output. Without one, its kernel says more than a reshape after it.
        ends = [made for made in places if made.output != "none"] or [m for m in places if m.role != "passing"]
        enters = any(name in plan.input_quantizers for node in own for name in node.inputs)
        remarks = [notes.get(origin, ""), "its input also gets a range" if enters else ""]
        recurrent = [node for node in own if plan.places[node.name].role == "recurrent"]
        carrying = [node for node in own if plan.places[node.name].weights] + recurrent
        weights = " and ".join(dict.fromkeys(_weights(node, plan) for node in carrying))
        yield LayerPlan(
            layer=origin,
            kind=f"Activation {own[-1].activation}" if kinds[origin] == "Activation" else kinds[origin],
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
