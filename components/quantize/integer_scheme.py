"""The quantization scheme of ours for TFMOT: which layer gets which quantizers, so that the file has integers only.

Imports TensorFlow. `IntegerScheme` is a `tfmot.quantization.keras.QuantizeScheme`, so it also works by itself:
`quantize_apply(quantize_annotate_model(model), IntegerScheme(weight_bits=4))`. Its layout transform is `rewrite`,
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

from components.constraints import shares
from components.errors import EdgemillError, ModelError, SpecError
from components.quantize.layers import WEIGHTED
from components.quantize.placement import Node, Place, Plan, place
from components.quantize.qat_spec import ActivationQuantization, Histogram, LastValue, MovingAverage, OwnQuantizer
from components.quantize.quantizers import (
    NEVER,
    ExtremesQuantizer,
    FixedQuantizer,
    HistogramQuantizer,
    LastValueQuantizer,
    MovingAverageQuantizer,
    WeightQuantizer,
)
from components.quantize.recurrent.layer import IntegerRecurrent
from components.quantize.recurrent.plan import is_recurrent, why_not
from components.quantize.rewrite import Rewritten, activation_name, rewrite
from components.quantize.treatment import Treatment
from components.task import load_object
from components.training_spec import Preserve
from components.user_code import exits_told

_NOTHING = Preserve()
# Names the layer that quantizes what enters a kernel.
ENTRANCE = "{}/entrance"


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


class IntegerScheme(quantize_scheme.QuantizeScheme):
    """Integer weights and activations for every layer that TFLite's integer kernels can run.

    Args:
        weight_bits: 8, or 4: the converter stores such weights as INT4.
        activation_bits: 8, or 16 (symmetric, "16x8").
        treatments: How each layer of the model is treated, by name, instead of both; every layer must be in it.
        delay: Training batches before activations are quantized.
        integer_border: Whether the model's inputs and outputs are integers even where the layers there stay float.
        preserve: What earlier steps made of the weights.
        quantizers: What makes the quantizers; None makes those that train.
    """

    def __init__(
        self,
        weight_bits: int = 8,
        activation_bits: int = 8,
        treatments: Mapping[str, Treatment] | None = None,
        delay: int = 0,
        integer_border: bool = True,
        preserve: Preserve = _NOTHING,
        quantizers: Quantizers | None = None,
    ) -> None:
        self._integer_border, self._preserve = integer_border, preserve
        self._quantizers = quantizers or Quantizers()
        self._default = Treatment(weight_bits=weight_bits, activation_bits=activation_bits)
        self._treatments, self._delay = treatments, delay

    def get_layout_transformer(self) -> Any:
        """See the base class."""
        return _Layout(self.treatment_of, self._delay, self._integer_border, self._preserve, self._quantizers)

    def get_quantize_registry(self) -> Any:
        """See the base class; the layout transform gives every layer its config."""
        return _NothingByItself()

    def treatment_of(self, name: str) -> Treatment:
        """How a layer of the model is treated; for a scheme of one's own to override."""
        # Input layers have no treatment.
        return self._default if self._treatments is None else self._treatments.get(name, self._default)


class _NothingByItself(quantize_registry.QuantizeRegistry):
    def supports(self, layer: Any) -> bool:  # noqa: ARG002
        return False

    def get_quantize_config(self, layer: Any) -> Any:  # noqa: ARG002
        return None


class _Layout(quantize_layout_transform.QuantizeLayoutTransform):
    def __init__(
        self,
        treatment: Callable[[str], Treatment],
        delay: int,
        integer_border: bool,
        preserve: Preserve,
        quantizers: Quantizers,
    ) -> None:
        self._treatment, self._delay, self._integer_border = treatment, delay, integer_border
        self._preserve, self._quantizers = preserve, quantizers

    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Rewrite, and give quantizers; layers that were annotated with a config keep it."""
        configs = {name: held["quantize_config"] for name, held in layer_quantize_map.items() if held}
        annotated = {name: config for name, config in configs.items() if config is not None}
        by_name = {
            layer.name: _of_annotation(self._treatment(layer.name), layer.name, layer_quantize_map, annotated)
            for layer in model.layers
        }
        rewritten, plan = planned(model, by_name, self._integer_border)
        plan.refuse()
        wrapped = {
            name: annotated.get(name)
            or _config(name, made, rewritten.model, self._delay, self._preserve, self._quantizers)
            for name, made in plan.places.items()
            if not made.empty
        }
        for source, treatment in plan.entrances.items():
            quantizer = self._quantizers.output(treatment, self._delay, source)
            wrapped[ENTRANCE.format(source)] = LayerConfig(output_quantizer=quantizer)
        for layer in rewritten.model.layers:
            if isinstance(layer, IntegerRecurrent):
                _equip(layer, plan.places[layer.name].treatment, self._delay, self._quantizers)
        for names in plan.joined:
            together = [rewritten.model.get_layer(name) for name in names]
            for layer in together:
                layer.join(together)
        placed = _with_entrances(rewritten.model, plan)
        return placed, {name: {"quantize_config": config} for name, config in wrapped.items()}


def planned(model: Any, treatments: Mapping[str, Treatment], integer_border: bool) -> tuple[Rewritten, Plan]:
    """Rewrite a model and decide where quantizers go; refuses nothing yet."""

    def kept(name: str) -> bool:
        treatment = treatments.get(name)
        return treatment is not None and (treatment.mode == "float" or treatment.config is not None)

    def folds(name: str) -> bool:
        treatment = treatments.get(name)
        return treatment is not None and (not treatment.per_channel or treatment.weight_quantizer is not None)

    rewritten = rewrite(model, kept, folds)
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    outputs = [tensor._keras_history.layer.name for tensor in rewritten.model.outputs]
    return rewritten, place(graph(rewritten), treatments, kinds, rewritten.notes, outputs, integer_border)


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
    treatment: Treatment, name: str, annotations: Mapping[str, Any], configs: Mapping[str, Any]
) -> Treatment:
    """A layer without annotation stays float; one annotated with a config keeps that."""
    if name not in annotations:
        return replace(treatment, mode="float", config=None)
    if name in configs and treatment.config is None:
        return replace(treatment, config=type(configs[name]).__name__)
    return treatment


def _with_entrances(model: Any, plan: Plan) -> Any:
    """The same layers on new tensors, with a layer to quantize at each entrance to the integers.

    Not TFMOT's QuantizeLayer: it is made anew from the name of its quantizer's class, looked up among TFMOT's own.
    """
    tensors: dict[int, Any] = {}
    quantized: dict[int, Any] = {}
    borders: dict[int, Any] = {}
    inputs = []
    for tensor in model.inputs:
        name = tensor.name.partition(":")[0]
        inputs.append(tf.keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name))
        tensors[id(tensor)] = inputs[-1]
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                reads = quantized if plan.places[node.layer.name].treatment.mode != "float" else borders
                args, kwargs = tf.nest.map_structure(
                    lambda value, reads=reads: reads.get(id(value), tensors.get(id(value), value)),
                    (node.call_args, node.call_kwargs),
                )
                results = node.layer(*args, **kwargs)
                for old, new in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(results), strict=True):
                    tensors[id(old)] = new
            for old in tf.nest.flatten(node.outputs) if node.layer.name in plan.entrances else []:
                layer = tf.keras.layers.Activation("linear", name=ENTRANCE.format(node.layer.name))
                quantized[id(old)] = layer(tensors[id(old)])
                if node.layer.name in plan.borders:
                    borders[id(old)] = quantized[id(old)]
    outputs = [borders.get(id(output), tensors[id(output)]) for output in model.outputs]
    return tf.keras.Model(inputs, outputs, name=model.name)


class Quantizers:
    """Makes the quantizers of layers; these train.

    Args:
        epoch: Training batches in an epoch, which ranges of the model's outputs are taken from; 0 takes all batches.
    """

    def __init__(self, epoch: int = 0) -> None:
        self._epoch = epoch

    def output(self, treatment: Treatment, delay: int, name: str) -> Any:
        """Of what a layer, or a point within it, gives."""
        return _output_quantizer(treatment, delay, name, self._epoch)

    def weights(self, treatment: Treatment, axes: tuple[int, ...], trains: bool, one_range: bool = False) -> Any:
        """Of weights, with a scale for each place along `axes`, all the same ones if there is to be one range."""
        return WeightQuantizer(treatment.weight_bits, axes, trains, one_range)

    def fixed(self, treatment: Treatment) -> Any:
        """Of what a kernel gives whose scale it prescribes."""
        return FixedQuantizer(delay=NEVER if treatment.mode == "watched" else 0)


def _equip(layer: IntegerRecurrent, treatment: Treatment, delay: int, quantizers: Quantizers) -> None:
    if treatment.mode == "float":
        return
    trains = treatment.trains_weights and treatment.mode == "trained"
    # Inside the fused LSTM the cell state has 16 bits.
    inside = replace(treatment, extremes=False)
    wide = replace(inside, activation_bits=16)

    def make(point: str) -> Any:
        if layer.cell.kind == "LSTM" and point == "c":
            return quantizers.output(wide, delay, f"{layer.name}/{point}")
        return quantizers.output(treatment if point == "h" else inside, delay, f"{layer.name}/{point}")

    layer.equip(
        treatment.activation_bits,
        make,
        quantizers.weights(treatment, (), trains),
    )


def _config(name: str, made: Place, model: Any, delay: int, preserve: Preserve, quantizers: Quantizers) -> Any:
    treatment = made.treatment
    if treatment.config is not None:
        return own_object(treatment.config, QuantizeConfig, "config")
    layer = model.get_layer(name)
    kernel, axes = WEIGHTED[type(layer).__name__] if made.weights else (None, ())
    weights = None
    if made.weights:
        trains = treatment.trains_weights and treatment.mode == "trained"
        own = treatment.weight_quantizer
        weights = (
            quantizers.weights(
                treatment,
                axes if treatment.per_channel else (),
                trains,
                one_range=shares(getattr(layer, str(kernel)).numpy(), preserve),
            )
            if own is None
            else Checked(own_quantizer(own), name)
        )
    output: Any = None
    if made.output == "range":
        output = quantizers.output(treatment, delay, name)
    elif made.output == "fixed":
        output = quantizers.fixed(treatment)
    return LayerConfig(kernel, weights, output)


def _output_quantizer(treatment: Treatment, delay: int, name: str, epoch: int) -> Any:
    how = treatment.activations
    if how is None or treatment.mode == "watched":
        how, delay = how or ActivationQuantization(), NEVER
    shared = (treatment.activation_bits, how.symmetric, delay)
    if treatment.extremes and how.quantizer.kind != "own":
        return ExtremesQuantizer(*shared, epoch=epoch)
    match how.quantizer:
        case MovingAverage(decay=decay):
            return MovingAverageQuantizer(*shared, decay=decay)
        case LastValue():
            return LastValueQuantizer(*shared)
        case Histogram(percentile=percentile, bins=bins):
            return HistogramQuantizer(*shared, percentile=percentile, bins=bins)
        case OwnQuantizer() as own:
            return Checked(own_quantizer(own), name)


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


def own_quantizer(own: OwnQuantizer) -> Any:
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
        with exits_told(field):
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
