"""The quantization scheme of ours for TFMOT: which layer gets which quantizers, so that the file has integers only.

Imports TensorFlow. `Tflite8BitScheme` is a `tfmot.quantization.keras.QuantizeScheme`, so it also works by itself:
`quantize_apply(quantize_annotate_model(model), Tflite8BitScheme(weight_bits=4))`. Its layout transform is `rewrite`,
followed by quantizers wherever an integer kernel needs a range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import tensorflow as tf
from tensorflow_model_optimization.python.core.quantization.keras import (
    quantize_layout_transform,
    quantize_registry,
    quantize_scheme,
)
from tensorflow_model_optimization.quantization.keras import QuantizeConfig

from components.cells.layer import IntegerRecurrent
from components.cells.plan import is_recurrent, why_not
from components.cells.quantizers import (
    NEVER,
    ExtremesQuantizer,
    FixedQuantizer,
    HistogramQuantizer,
    LastValueQuantizer,
    MovingAverageQuantizer,
    WeightQuantizer,
)
from components.core.errors import EdgemillError, ModelError, SpecError
from components.core.user_code import exits_reported
from components.data.task import load_object
from components.fake_quantize.layer_policy import LayerPolicy
from components.fake_quantize.layers import WEIGHTED
from components.fake_quantize.placement import Node, Plan, QuantizerSlot, place
from components.fake_quantize.rewrite import Rewritten, activation_name, rewrite
from components.fine_tune.constraints import shares
from components.spec.steps.fine_tuning import WeightInvariants
from components.spec.steps.qat import ActivationQuantization, CustomQuantizer, Histogram, LastValue, MovingAverage

_NOTHING = WeightInvariants()
# Names the layer that quantizes what enters a kernel.
INPUT_QUANTIZER = "{}/entrance"


class LayerConfig(QuantizeConfig):
    """Quantizers of one rewritten layer: of its kernel, and of its output.

    Args:
        kernel: The attribute that holds the weights; None quantizes none.
        weight_quantizer: Quantizes them.
        output_quantizer: Quantizes the output; None for a layer that has no range of its own.
    """

    def __init__(self, kernel: str | None = None, weight_quantizer: Any = None, output_quantizer: Any = None) -> None:
        self.kernel, self.weight_quantizer, self.output_quantizer = kernel, weight_quantizer, output_quantizer

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        """See the base class."""
        return [] if self.kernel is None else [(getattr(layer, self.kernel), self.weight_quantizer)]

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:  # noqa: ARG002
        """None: activations stand alone in a rewritten model."""
        return []

    @tf.autograph.experimental.do_not_convert
    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """See the base class."""
        for weights in quantize_weights:
            setattr(layer, str(self.kernel), weights)

    @tf.autograph.experimental.do_not_convert
    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """See the base class."""

    def get_output_quantizers(self, layer: Any) -> list[Any]:  # noqa: ARG002
        """See the base class."""
        return [] if self.output_quantizer is None else [self.output_quantizer]

    def get_config(self) -> dict[str, Any]:
        """See the base class."""
        return {
            "kernel": self.kernel,
            "weight_quantizer": self.weight_quantizer,
            "output_quantizer": self.output_quantizer,
        }


class Tflite8BitScheme(quantize_scheme.QuantizeScheme):
    """Integer weights and activations for every layer that TFLite's integer kernels can run.

    Args:
        weight_bits: 8, or 4: the converter stores such weights as INT4.
        activation_bits: 8, or 16 (symmetric, "16x8").
        policies: How each layer of the model is treated, by name, instead of both; every layer must be in it.
        delay: Training batches before activations are quantized.
        integer_io: Whether the model's inputs and outputs are integers even where the layers there stay float.
        invariants: What earlier steps made of the weights.
        quantizers: What makes the quantizers; None makes those that train.
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
        """See the base class; the layout transform gives every layer its config."""
        return _NothingByItself()

    def policy_of(self, name: str) -> LayerPolicy:
        """How a layer of the model is treated; for a scheme of one's own to override."""
        # Input layers have no policy.
        return self._default if self._treatments is None else self._treatments.get(name, self._default)


class _NothingByItself(quantize_registry.QuantizeRegistry):
    def supports(self, layer: Any) -> bool:  # noqa: ARG002
        return False

    def get_quantize_config(self, layer: Any) -> Any:  # noqa: ARG002
        return None


class _Layout(quantize_layout_transform.QuantizeLayoutTransform):
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
        """Rewrite, and give quantizers; layers that were annotated with a config keep it."""
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
            or _config(name, made, rewritten.model, self._delay, self._invariants, self._quantizers)
            for name, made in plan.places.items()
            if not made.empty
        }
        for source, policy in plan.input_quantizers.items():
            quantizer = self._quantizers.output(policy, self._delay, source)
            wrapped[INPUT_QUANTIZER.format(source)] = LayerConfig(output_quantizer=quantizer)
        for layer in rewritten.model.layers:
            if isinstance(layer, IntegerRecurrent):
                _equip(layer, plan.places[layer.name].policy, self._delay, self._quantizers)
        for names in plan.joined:
            together = [rewritten.model.get_layer(name) for name in names]
            for layer in together:
                layer.join(together)
        placed = _with_input_quantizers(rewritten.model, plan)
        return placed, {name: {"quantize_config": config} for name, config in wrapped.items()}


def planned(model: Any, policies: Mapping[str, LayerPolicy], integer_io: bool) -> tuple[Rewritten, Plan]:
    """Rewrite a model and decide where quantizers go; refuses nothing yet."""

    def kept(name: str) -> bool:
        policy = policies.get(name)
        return policy is not None and (policy.mode == "float" or policy.config is not None)

    def folds(name: str) -> bool:
        policy = policies.get(name)
        return policy is not None and (not policy.per_channel or policy.weight_quantizer is not None)

    rewritten = rewrite(model, kept, folds)
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    outputs = [tensor._keras_history.layer.name for tensor in rewritten.model.outputs]
    return rewritten, place(graph(rewritten), policies, kinds, rewritten.notes, outputs, integer_io)


def graph(rewritten: Rewritten) -> list[Node]:
    """A rewritten model as a graph of names."""
    nodes = []
    for depth in sorted(rewritten.model._nodes_by_depth, reverse=True):
        for node in rewritten.model._nodes_by_depth[depth]:
            layer = node.layer
            outputs = tf.nest.flatten(node.outputs)
            nodes.append(
                Node(
                    name=layer.name,
                    origin=rewritten.origins.get(layer.name, layer.name),
                    kind=type(layer).__name__,
                    activation=_activation(layer),
                    inputs=() if node.is_input else tuple(t._keras_history.layer.name for t in node.keras_inputs),
                    is_float=all(output.dtype.is_floating for output in outputs),
                    refusal=_refusal(layer),
                )
            )
    return nodes


def _refusal(layer: Any) -> tuple[str, str] | None:
    refusal = why_not(layer) if is_recurrent(layer) else None
    return (refusal.reason, refusal.remedy) if refusal else None


def _activation(layer: Any) -> str | None:
    if isinstance(layer, IntegerRecurrent):
        return layer.cell.kind
    if isinstance(layer, tf.keras.layers.ReLU):
        if float(layer.threshold or 0) or float(layer.negative_slope or 0):
            return None
        return {None: "relu", 6.0: "relu6"}.get(None if layer.max_value is None else float(layer.max_value))
    return activation_name(layer.activation) if isinstance(layer, tf.keras.layers.Activation) else None


def _of_annotation(
    policy: LayerPolicy, name: str, annotations: Mapping[str, Any], configs: Mapping[str, Any]
) -> LayerPolicy:
    """A layer without annotation stays float; one annotated with a config keeps that."""
    if name not in annotations:
        return replace(policy, mode="float", config=None)
    if name in configs and policy.config is None:
        return replace(policy, config=type(configs[name]).__name__)
    return policy


def _with_input_quantizers(model: Any, plan: Plan) -> Any:
    """The same layers on new tensors, with a layer to quantize at each entrance to the integers.

    Not TFMOT's QuantizeLayer: it is made anew from the name of its quantizer's class, looked up among TFMOT's own.
    """
    tensors: dict[int, Any] = {}
    quantized: dict[int, Any] = {}
    model_io: dict[int, Any] = {}
    inputs = []
    for tensor in model.inputs:
        name = tensor.name.partition(":")[0]
        inputs.append(tf.keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name))
        tensors[id(tensor)] = inputs[-1]
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
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


class Quantizers:
    """Makes the quantizers of layers; these train.

    Args:
        epoch: Training batches in an epoch, which ranges of the model's outputs are taken from; 0 takes all batches.
    """

    def __init__(self, epoch: int = 0) -> None:
        self._epoch = epoch

    def output(self, policy: LayerPolicy, delay: int, name: str) -> Any:
        """Of what a layer, or a point within it, gives."""
        return _output_quantizer(policy, delay, name, self._epoch)

    def weights(self, policy: LayerPolicy, axes: tuple[int, ...], trains: bool, one_range: bool = False) -> Any:
        """Of weights, with a scale for each place along `axes`, all the same ones if there is to be one range."""
        return WeightQuantizer(policy.weight_bits, axes, trains, one_range)

    def fixed(self, policy: LayerPolicy) -> Any:
        """Of what a kernel gives whose scale it prescribes."""
        return FixedQuantizer(delay=NEVER if policy.mode == "observed" else 0)


def _equip(layer: IntegerRecurrent, policy: LayerPolicy, delay: int, quantizers: Quantizers) -> None:
    if policy.mode == "float":
        return
    trains = policy.trains_weights and policy.mode == "trained"
    # Inside the fused LSTM the cell state has 16 bits.
    inside = replace(policy, extremes=False)
    wide = replace(inside, activation_bits=16)

    def make(point: str) -> Any:
        if layer.cell.kind == "LSTM" and point == "c":
            return quantizers.output(wide, delay, f"{layer.name}/{point}")
        return quantizers.output(policy if point == "h" else inside, delay, f"{layer.name}/{point}")

    layer.equip(
        policy.activation_bits,
        make,
        quantizers.weights(policy, (), trains),
    )


def _config(
    name: str, made: QuantizerSlot, model: Any, delay: int, invariants: WeightInvariants, quantizers: Quantizers
) -> Any:
    policy = made.policy
    if policy.config is not None:
        return own_object(policy.config, QuantizeConfig, "config")
    layer = model.get_layer(name)
    kernel, axes = WEIGHTED[type(layer).__name__] if made.weights else (None, ())
    weights = None
    if made.weights:
        trains = policy.trains_weights and policy.mode == "trained"
        own = policy.weight_quantizer
        weights = (
            quantizers.weights(
                policy,
                axes if policy.per_channel else (),
                trains,
                one_range=shares(getattr(layer, str(kernel)).numpy(), invariants),
            )
            if own is None
            else Checked(custom_quantizer(own), name)
        )
    output: Any = None
    if made.output == "range":
        output = quantizers.output(policy, delay, name)
    elif made.output == "fixed":
        output = quantizers.fixed(policy)
    return LayerConfig(kernel, weights, output)


def _output_quantizer(policy: LayerPolicy, delay: int, name: str, epoch: int) -> Any:
    how = policy.activations
    if how is None or policy.mode == "observed":
        how, delay = how or ActivationQuantization(), NEVER
    shared = (policy.activation_bits, how.symmetric, delay)
    if policy.extremes and how.quantizer.kind != "own":
        return ExtremesQuantizer(*shared, epoch=epoch)
    match how.quantizer:
        case MovingAverage(decay=decay):
            return MovingAverageQuantizer(*shared, decay=decay)
        case LastValue():
            return LastValueQuantizer(*shared)
        case Histogram(percentile=percentile, bins=bins):
            return HistogramQuantizer(*shared, percentile=percentile, bins=bins)
        case CustomQuantizer() as own:
            return Checked(custom_quantizer(own), name)


class Checked:
    """A quantizer of the task's, held to returning what it was given in shape and type."""

    def __init__(self, quantizer: Any, layer: str) -> None:
        self.quantizer, self._layer = quantizer, layer

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Any:
        """As the quantizer's own; then tries it, where errors still reach the caller as they are.

        Raises:
            ModelError: It returns another shape or type.
        """
        weights = self.quantizer.build(tensor_shape, name, layer)
        inputs = tf.zeros([size or 1 for size in tensor_shape])
        outputs = self.quantizer(inputs, False, weights=weights)
        if tuple(outputs.shape) != tuple(inputs.shape) or outputs.dtype != inputs.dtype:
            raise ModelError(
                f"the quantizer {type(self.quantizer).__name__} returns another shape or type than it is given",
                where=f"layer {self._layer}",
                bound=f"{inputs.dtype.name} {inputs.shape}",
                measured=f"{outputs.dtype.name} {outputs.shape}",
                remedy="return the quantized values in place of the inputs, each at its place",
            )
        return weights

    def __call__(self, inputs: Any, training: Any, weights: Any, **more: Any) -> Any:
        """As the quantizer's own."""
        return self.quantizer(inputs, training, weights=weights, **more)

    def get_config(self) -> Any:
        """As the quantizer's own."""
        return self.quantizer.get_config()


def custom_quantizer(own: CustomQuantizer) -> Any:
    """A new quantizer of the task's."""
    from tensorflow_model_optimization.quantization.keras import quantizers

    return own_object(own.object, quantizers.Quantizer, "quantizer")


def own_object(reference: str, kind: type[Any], field: Literal["config", "quantizer", "scheme"]) -> Any:
    """What a class or function of the user's makes, or an object itself.

    Args:
        reference: `package.module:NAME`.
        kind: What it must be.
        field: Where the pipeline file names it.

    Raises:
        SpecError: It cannot be imported or made, or is something else.
    """
    named = load_object(reference, field)
    if isinstance(named, kind):
        return named
    try:
        with exits_reported(field):
            made = named()
    except EdgemillError:
        raise
    except Exception as error:
        raise SpecError(
            f"{reference!r} cannot be made: {type(error).__name__}: {error}",
            where=field,
            bound="a class or function that takes no arguments",
            remedy="give its arguments defaults, or name a function that returns the object",
        ) from error
    if not isinstance(made, kind):
        raise SpecError(
            f"{reference!r} makes something else",
            where=field,
            bound=f"a {kind.__name__} of tensorflow_model_optimization",
            measured=type(made).__name__,
            remedy="derive it from that class",
        )
    return made
