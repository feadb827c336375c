"""Place quantizers in a rewritten model. Pure functions on a graph of names, without TensorFlow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from components.fake_quantize.layer_policy import LayerPolicy
from components.fake_quantize.layers import (
    FIXED_RANGES,
    FUSED_ACTIVATIONS,
    FUSING,
    LOOKED_UP,
    remedy_for,
    role_of,
)
from components.fake_quantize.operators.table import CONSTANTS, FUNCTIONS, FUSING_FUNCTIONS, OPERATOR
from components.fake_quantize.placement_plan import Node, Plan, QuantizerSlot, layer_plans
from components.spec.schemes.limits import (
    LSTM_NOT_IN_4_BITS,
    LSTM_NOT_IN_16_BITS,
    TRAINED_NOT_IN_4_BITS,
    TRAINED_NOT_IN_16_BITS,
)

# Cells whose outputs cannot be requantized for their readers: the output of the fused LSTM is its state, and the output
# of an SRU is only an output. The states of a GRU and a SimpleRNN enter the next time step unchanged, and only their
# outputs are requantized.
_HAND_OUT = frozenset({"LSTM", "SRU"})


def place(
    nodes: Sequence[Node],
    policies: Mapping[str, LayerPolicy],
    kinds: Mapping[str, str],
    notes: Mapping[str, str],
    outputs: Collection[str] = (),
    integer_io: bool = True,
) -> Plan:
    """Decide where quantizers go.

    Each kernel needs one range at its end: a convolution with batch normalization and ReLU needs one, not three. Layers
    that TFLite fuses into one kernel share the policy of the layer with the weights.

    Args:
        nodes: The rewritten model in topological order.
        policies: Policies by name of the user's layers.
        kinds: Class names by name of the user's layers, in order.
        notes: How layers were rewritten, by name of the user's layers.
        outputs: Names of the layers whose outputs are outputs of the model.
        integer_io: Whether inputs and outputs of the model are integers even if the layers next to them stay in float.
    """
    by_name = {node.name: node for node in nodes}
    readers: dict[str, int] = {}
    for node in nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    leaders = _leaders(nodes, by_name, readers)
    plan = Plan({}, {})
    integers = {node.name for node in nodes if not node.is_float}
    for node in nodes:
        leader = by_name[leaders[node.name]]
        own, leading = policies.get(node.origin, LayerPolicy(mode="float")), policies.get(leader.origin)
        policy = own if leading is None or own.config else _shared(own, leading)
        if node.kind == OPERATOR and integers.issuperset({node.name, *node.inputs}):
            plan.places[node.name] = QuantizerSlot(policy, "passing")
        elif node.kind == OPERATOR and node.activation == "cast" and node.inputs and integers.issuperset(node.inputs):
            # A cast to floats, in front of the quantizer of its reader.
            plan.places[node.name] = QuantizerSlot(replace(policy, mode="float"), "unknown")
        else:
            plan.places[node.name] = _placed(node, policy, plan)
    for node in nodes:
        source = _fused_into(node, by_name, readers)
        if source is not None and plan.places[node.name].policy.mode != "float":
            plan.places[source].output = "none"
    _fix_slices(nodes, by_name, readers, plan)
    _join(nodes, by_name, plan)
    _open_input_quantizers(nodes, plan, outputs if integer_io else ())
    _keep_extremes(nodes, plan, outputs)
    plan.layers = tuple(layer_plans(nodes, plan, kinds, notes))
    return plan


def _leaders(nodes: Sequence[Node], by_name: Mapping[str, Node], readers: Mapping[str, int]) -> dict[str, str]:
    leaders: dict[str, str] = {}
    for node in nodes:
        source = _fused_into(node, by_name, readers)
        leaders[node.name] = leaders[source] if source is not None else node.name
    return leaders


def _fused_into(node: Node, by_name: Mapping[str, Node], readers: Mapping[str, int]) -> str | None:
    """The layer whose kernel also computes this one; None if it has its own kernel."""
    if not node.inputs or node.inputs[0] not in by_name:
        return None
    source = by_name[node.inputs[0]]
    while source.name.endswith("/flat") and source.kind == "Reshape" and readers.get(source.name) == 1:
        source = by_name[source.inputs[0]]
    if readers.get(source.name) != 1:
        return None
    if node.kind == "BatchNormalization":
        return source.name if source.kind in {"Conv2D", "DepthwiseConv2D"} else None
    fuses = node.kind in {"ReLU", "Activation"} and node.activation in FUSED_ACTIVATIONS
    fusing = source.kind in FUSING or (source.kind == OPERATOR and source.activation in FUSING_FUNCTIONS)
    return source.name if fuses and fusing else None


def _fix_slices(nodes: Sequence[Node], by_name: Mapping[str, Node], readers: Mapping[str, int], plan: Plan) -> None:
    """Give sigmoids and the like their prescribed range in the graph, if several layers read them and one is passing.

    Otherwise, the converter gives such an output the range of one of its readers, for example of a concatenation, and
    refuses the slice that another concatenation reads.
    """
    for node in nodes:
        for name in node.inputs if plan.places[node.name].role == "passing" else ():
            made, source = plan.places.get(name), by_name.get(name)
            if made is None or source is None or made.role != "fixed" or readers[name] == 1:
                continue
            own = source.activation if source.kind in {"Activation", OPERATOR} else source.kind
            if made.policy.mode != "float" and made.policy.activation_bits == 8:
                made.limits = FIXED_RANGES.get(str(own))
                made.output = "fixed" if made.limits else made.output


def _join(nodes: Sequence[Node], by_name: Mapping[str, Node], plan: Plan) -> None:
    """Find concatenations whose inputs all come from such cells, and join the ranges of these inputs."""
    for node in nodes:
        made = plan.places[node.name]
        if node.kind != "Concatenate" or made.output != "range":
            continue
        sources = [by_name[name] for name in node.inputs]
        if all(one.activation in _HAND_OUT and plan.places[one.name].policy.mode != "float" for one in sources):
            made.output = "none"
            group = dict.fromkeys(node.inputs)
            # Concatenations with a common input share one group.
            for other in [other for other in plan.joined if not group.keys().isdisjoint(other)]:
                plan.joined.remove(other)
                group |= dict.fromkeys(other)
            plan.joined.append(tuple(group))


def _shared(own: LayerPolicy, leading: LayerPolicy) -> LayerPolicy:
    """The policy of a layer fused into another's kernel: the leader's, except for activations set for this layer."""
    if own.says_activations and not leading.says_activations:
        return LayerPolicy(**{**vars(leading), "activations": own.activations, "says_activations": True})
    return leading


def _placed(node: Node, policy: LayerPolicy, plan: Plan) -> QuantizerSlot:
    role = role_of(node.kind, node.activation)
    if node.kind == OPERATOR and node.activation in CONSTANTS:
        policy = replace(policy, extremes=True)
    made = QuantizerSlot(policy, role)
    if node.refusal is not None and policy.mode != "float" and not policy.config:
        plan.refused.append((node, *node.refusal))
        return made
    if role == "recurrent":
        refusal = _recurrent_refusal(node, policy)
        plan.refused += [(node, *refusal)] if refusal else []
        return made
    if policy.mode == "float" or policy.config or node.kind == "InputLayer":
        return made
    if role == "unknown" or (node.kind == "ReLU" and node.activation not in FUSED_ACTIVATIONS):
        reason = (
            "its activation has no integer kernel" if node.kind in {"Activation", "ReLU"} else "has no integer form"
        )
        plan.refused.append((node, reason, remedy_for(node.kind, node.activation)))
        return made
    if role == "batch_norm" and not _folds(node, plan):
        plan.refused.append(
            (node, "normalizes along an axis other than the last", "put the channels last, with axis=-1")
        )
        return made
    function = FUNCTIONS.get(str(node.activation)) if node.kind == OPERATOR else None
    narrow = bool({node.kind, node.activation} & TRAINED_NOT_IN_16_BITS) or (function and not function.in_16_bits)
    if policy.activation_bits == 16 and narrow:
        plan.refused.append((node, "has no kernel for 16-bit activations", "use the scheme static_wi8_ai8"))
        return made
    if policy.weight_bits == 4 and policy.weight_quantizer is None and node.kind in TRAINED_NOT_IN_4_BITS:
        remedy = f"give it 8 bits: `configs: [{{layers: [{node.origin}], weights: {{bits: 8}}}}]`"
        plan.refused.append((node, "has no kernel for 4-bit weights", remedy))
        return made
    made.weights = role == "weighted"
    if role in {"weighted", "ranged", "batch_norm"} and node.is_float and node.kind not in LOOKED_UP:
        made.output = "range"
    elif role == "fixed" and policy.activation_bits == 16:
        made.output = "fixed"
    return made


def _recurrent_refusal(node: Node, policy: LayerPolicy) -> tuple[str, str] | None:
    own = policy.activations is not None and policy.activations.quantizer.kind == "own"
    if own or policy.weight_quantizer is not None:
        return "its cell doesn't accept custom quantizers", "choose another quantizer for it in `configs`"
    if node.activation == "LSTM" and policy.activation_bits == 16:
        return LSTM_NOT_IN_16_BITS, "use static_wi8_ai8, or use a GRU or an SRU"
    if node.activation == "LSTM" and policy.weight_bits != 8:
        return LSTM_NOT_IN_4_BITS, "take static_wi8_ai8"
    return None


def _folds(node: Node, plan: Plan) -> bool:
    # The rewriting keeps a batch normalization only after a convolution, or if it does not support the normalization's
    # axis.
    source = plan.places.get(node.inputs[0])
    return source is not None and (source.role == "weighted" or node.inputs[0].endswith("/flat"))


def _open_input_quantizers(nodes: Sequence[Node], plan: Plan, outputs: Collection[str]) -> None:
    """Find tensors without a range that integer kernels read, or that are inputs or outputs of the model."""
    ranged: dict[str, bool] = {}
    floats = {node.name: node.is_float for node in nodes}
    for node in nodes:
        made = plan.places[node.name]
        if node.kind == "InputLayer":
            ranged[node.name] = False
            continue
        integer = made.policy.mode != "float"
        if integer:
            for name in node.inputs:
                if not ranged[name] and floats[name]:
                    known = plan.input_quantizers.get(name)
                    if known is None or known.mode == "observed":
                        plan.input_quantizers[name] = made.policy
        reads_ranges = all(ranged[name] or not floats[name] for name in node.inputs)
        ranged[node.name] = integer or (made.role == "passing" and reads_ranges)
    if not outputs:
        return
    entering = {node.name for node in nodes if node.kind == "InputLayer"}
    plan.model_io = {name for name in (*entering, *outputs) if not ranged[name] and floats[name]}
    for name in plan.model_io:
        plan.input_quantizers.setdefault(name, LayerPolicy(activation_bits=_bits(plan)))


def _keep_extremes(nodes: Sequence[Node], plan: Plan, outputs: Collection[str]) -> None:
    """Use full ranges for model outputs, and for the inputs that kernels without weights compute them from."""
    inputs = {node.name: node.inputs for node in nodes}
    pending, seen = list(outputs), set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in plan.input_quantizers:
            plan.input_quantizers[name] = replace(plan.input_quantizers[name], extremes=True)
            continue
        made = plan.places[name]
        made.policy = replace(made.policy, extremes=True)
        if made.role in {"passing", "ranged"}:
            # Clipped terms clip the sum: its own range would never see the lost values.
            pending += inputs[name]


def _bits(plan: Plan) -> int:
    return next(made.policy.activation_bits for made in plan.places.values() if made.policy.mode != "float")
