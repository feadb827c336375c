"""Edgemill's quantization scheme for TFMOT: which layer gets which quantizers, so that the file has only integers.

Imports TensorFlow. `Tflite8BitScheme` is a `tfmot.quantization.keras.QuantizeScheme`, so you can use it by itself:
`quantize_apply(quantize_annotate_model(model), Tflite8BitScheme(weight_bits=4))`. Its layout transform applies
`rewrite`, then adds quantizers wherever an integer kernel needs a range.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import tensorflow as tf

from components.cells.layer import IntegerRecurrent
from components.fake_quantize.keras_layers import Rewritten, activation_name
from components.fake_quantize.layer_config import LayerConfig, Quantizers, equip, layer_config
from components.fake_quantize.layer_policy import LayerPolicy
from components.fake_quantize.operators.layer import Operator
from components.fake_quantize.placement import place
from components.fake_quantize.placement_plan import Node, Plan
from components.fake_quantize.rewrite import rewrite
from components.model.keras_graph import input_like
from components.spec.steps.fine_tuning import WeightInvariants
from components.upstream.keras import layer_behind, layers_that_read, nodes_in_order
from components.upstream.tfmot import QuantizeLayoutTransform, QuantizeRegistry, QuantizeScheme, wrapped

_NOTHING = WeightInvariants()
# Name of the layer that quantizes the input of a kernel.
INPUT_QUANTIZER = "{}/entrance"


class Tflite8BitScheme(QuantizeScheme):
    """Integer weights and activations for every layer that TFLite's integer kernels can run.

    Args:
        weight_bits: 8, or 4, which the converter stores as INT4.
        activation_bits: 8, or 16 (symmetric, "16x8").
        policies: Policy of each layer of the model, by name, which overrides both; must include every layer.
        delay: Training batches before activations are quantized.
        integer_io: Whether inputs and outputs of the model are integers even if the layers next to them stay in float.
        invariants: Properties of the weights from earlier steps, to preserve.
        quantizers: The factory of quantizers; None uses quantizers for training.
    """

    def __init__(
        self,
        weight_bits: int = 8,
        activation_bits: int = 8,
        policies: Mapping[str, LayerPolicy] | None = None,
        delay: int = 0,
        integer_io: bool = True,
        invariants: WeightInvariants = _NOTHING,
        quantizers: Quantizers | None = None,
    ) -> None:
        self._integer_io, self._invariants = integer_io, invariants
        self._quantizers = quantizers or Quantizers()
        self._default = LayerPolicy(weight_bits=weight_bits, activation_bits=activation_bits)
        self._treatments, self._delay = policies, delay

    def get_layout_transformer(self) -> Any:
        """See the base class."""
        return _Layout(self.policy_of, self._delay, self._integer_io, self._invariants, self._quantizers)

    def get_quantize_registry(self) -> Any:
        """See the base class. The registry is empty, because the layout transform gives every layer its config."""
        return _NothingByItself()

    def applied(self, model: Any, names: Collection[str]) -> Any:
        """Return the same as `quantize_apply` for a model with annotated layers, but without the copies that it makes.

        Args:
            model: A functional model that the caller doesn't use elsewhere.
            names: The layers to annotate.
        """
        annotations: dict[str, Any] = {name: {"quantize_config": None} for name in names}
        entering = {layer_behind(tensor).name: layers_that_read(tensor) for tensor in model.inputs}
        # Inputs of annotated layers are annotated too.
        annotations |= {name: {} for name, readers in entering.items() if any(one.name in names for one in readers)}
        placed, configs = self.get_layout_transformer().apply(model, annotations)
        return wrapped(placed, {name: held["quantize_config"] for name, held in configs.items()})

    def policy_of(self, name: str) -> LayerPolicy:
        """The policy of a layer of the model. Custom schemes can override this method."""
        # Input layers have no policy.
        return self._default if self._treatments is None else self._treatments.get(name, self._default)


class _NothingByItself(QuantizeRegistry):
    def supports(self, layer: Any) -> bool:  # noqa: ARG002
        return False

    def get_quantize_config(self, layer: Any) -> Any:  # noqa: ARG002
        return None


class _Layout(QuantizeLayoutTransform):
    def __init__(
        self,
        policy: Callable[[str], LayerPolicy],
        delay: int,
        integer_io: bool,
        invariants: WeightInvariants,
        quantizers: Quantizers,
    ) -> None:
        self._policy, self._delay, self._integer_io = policy, delay, integer_io
        self._invariants, self._quantizers = invariants, quantizers

    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Rewrite the model and add quantizers. Layers that are annotated with a config keep it."""
        configs = {name: held["quantize_config"] for name, held in layer_quantize_map.items() if held}
        annotated = {name: config for name, config in configs.items() if config is not None}
        by_name = {
            layer.name: _of_annotation(self._policy(layer.name), layer.name, layer_quantize_map, annotated)
            for layer in model.layers
        }
        rewritten, plan = planned(model, by_name, self._integer_io)
        plan.refuse()
        wrapped = {
            name: annotated.get(name)
            or layer_config(name, made, rewritten.model, self._delay, self._invariants, self._quantizers)
            for name, made in plan.places.items()
            if not made.empty
        }
        for source, policy in plan.input_quantizers.items():
            quantizer = self._quantizers.output(policy, self._delay, source)
            wrapped[INPUT_QUANTIZER.format(source)] = LayerConfig(output_quantizer=quantizer)
        for layer in rewritten.model.layers:
            if isinstance(layer, IntegerRecurrent):
                equip(layer, plan.places[layer.name].policy, self._delay, self._quantizers)
        for names in plan.joined:
            together = [rewritten.model.get_layer(name) for name in names]
            for layer in together:
                layer.join(together)
        placed = _with_input_quantizers(rewritten.model, plan)
        return placed, {name: {"quantize_config": config} for name, config in wrapped.items()}


def planned(model: Any, policies: Mapping[str, LayerPolicy], integer_io: bool) -> tuple[Rewritten, Plan]:
    """Rewrite a model and plan its quantizers. Refused layers do not raise an error yet."""

    def kept(name: str) -> bool:
        policy = policies.get(name)
        return policy is not None and (policy.mode == "float" or policy.config is not None)

    def folds(name: str) -> bool:
        policy = policies.get(name)
        return policy is not None and (not policy.per_channel or policy.weight_quantizer is not None)

    rewritten = rewrite(model, kept, folds)
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    outputs = [layer_behind(tensor).name for tensor in rewritten.model.outputs]
    return rewritten, place(graph(rewritten), policies, kinds, rewritten.notes, outputs, integer_io)


def graph(rewritten: Rewritten) -> list[Node]:
    """The graph of a rewritten model as nodes with names."""
    nodes = []
    for node in nodes_in_order(rewritten.model):
        layer = node.layer
        outputs = tf.nest.flatten(node.outputs)
        nodes.append(
            Node(
                name=layer.name,
                origin=rewritten.origins.get(layer.name, layer.name),
                kind=type(layer).__name__,
                activation=_activation(layer),
                inputs=() if node.is_input else tuple(layer_behind(t).name for t in node.keras_inputs),
                is_float=all(output.dtype.is_floating for output in outputs),
                refusal=rewritten.refusals.get(rewritten.origins.get(layer.name, layer.name)),
            )
        )
    return nodes


def _activation(layer: Any) -> str | None:
    if isinstance(layer, IntegerRecurrent):
        return layer.cell.kind
    if isinstance(layer, Operator):
        return str(layer.function)
    if isinstance(layer, tf.keras.layers.ReLU):
        if float(layer.threshold or 0) or float(layer.negative_slope or 0):
            return None
        return {None: "relu", 6.0: "relu6"}.get(None if layer.max_value is None else float(layer.max_value))
    return activation_name(layer.activation) if isinstance(layer, tf.keras.layers.Activation) else None


def _of_annotation(
    policy: LayerPolicy, name: str, annotations: Mapping[str, Any], configs: Mapping[str, Any]
) -> LayerPolicy:
    """Leave a layer without an annotation in float. A layer annotated with a config keeps the config."""
    if name not in annotations:
        return replace(policy, mode="float", config=None)
    if name in configs and policy.config is None:
        return replace(policy, config=type(configs[name]).__name__)
    return policy


def _with_input_quantizers(model: Any, plan: Plan) -> Any:
    """Call the same layers on new tensors, with a quantizing layer wherever floats enter integer kernels.

    TFMOT's QuantizeLayer is not an option: it looks up its quantizer's class name only among TFMOT's own classes.
    """
    quantized: dict[int, Any] = {}
    model_io: dict[int, Any] = {}
    inputs = [input_like(tensor) for tensor in model.inputs]
    tensors: dict[int, Any] = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
    for node in nodes_in_order(model):
        if not node.is_input:
            reads = quantized if plan.places[node.layer.name].policy.mode != "float" else model_io
            args, kwargs = tf.nest.map_structure(
                lambda value, reads=reads: reads.get(id(value), tensors.get(id(value), value)),
                (node.call_args, node.call_kwargs),
            )
            results = node.layer(*args, **kwargs)
            for old, new in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(results), strict=True):
                tensors[id(old)] = new
        for old in tf.nest.flatten(node.outputs) if node.layer.name in plan.input_quantizers else []:
            layer = tf.keras.layers.Activation("linear", name=INPUT_QUANTIZER.format(node.layer.name))
            quantized[id(old)] = layer(tensors[id(old)])
            if node.layer.name in plan.model_io:
                model_io[id(old)] = quantized[id(old)]
    outputs = [model_io.get(id(output), tensors[id(output)]) for output in model.outputs]
    return tf.keras.Model(inputs, outputs, name=model.name)
