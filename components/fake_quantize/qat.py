"""Prepare a float Keras model for training under quantization, and read the trained ranges. Imports TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_model_optimization.quantization.keras import quantize_annotate_layer, quantize_apply, quantize_scope

from components.cells.layer import IntegerRecurrent
from components.cells.plan import written_out_in_training
from components.cells.quantizers import ActivationQuantizer
from components.core.errors import EdgemillError, ModelError, summary_line
from components.facts.training import LayerPlan, TrainedRange
from components.fake_quantize.custom_objects import own_object
from components.fake_quantize.layer_config import Quantizers
from components.fake_quantize.layer_policy import chosen, policies
from components.fake_quantize.layers import ATTENTION, MASKING, has_one_scale
from components.fake_quantize.rewrite import rewrite
from components.fake_quantize.tflite_8bit_scheme import INPUT_QUANTIZER, Tflite8BitScheme, planned
from components.model.keras_graph import all_layers
from components.model.keras_model import check_learns
from components.model.weight_tensors import WeightTensor, kernels
from components.spec.scheme import Scheme
from components.spec.steps.fine_tuning import WeightInvariants
from components.spec.steps.layer_patterns import fits
from components.spec.steps.qat import QatStep
from components.upstream.keras import convolve_at_once, lambdas_allowed
from components.upstream.tfmot import (
    QuantizeScheme,
    QuantizeWrapper,
    change_outputs,
    freeze,
    output_range,
    quantized_weights,
)

_HISTOGRAM_BINS = 64
_NOTHING = WeightInvariants()


def checked_preview(model: Any, step: QatStep, scheme: Scheme) -> tuple[LayerPlan, ...]:
    """Like `preview`, but also insert the quantizers once, without training.

    Raises:
        SpecError, ModelError: See `preview` and `quantized`.
    """
    flat = _flat(model, step, scheme)
    plans = _plans(flat, step, scheme)
    # Quantizers may add trainable weights.
    check_learns(_quantized(flat, step, scheme, 1, _NOTHING, None), "model")
    return plans


def preview(model: Any, step: QatStep, scheme: Scheme) -> tuple[LayerPlan, ...]:
    """How the step treats each layer of a built functional or Sequential Keras model, including refused layers.

    Raises:
        SpecError: A name or glob matches no layer, or nothing is left to quantize.
    """
    return _plans(_flat(model, step, scheme), step, scheme)


def _plans(flat: Any, step: QatStep, scheme: Scheme) -> tuple[LayerPlan, ...]:
    by_name = policies(step, scheme, _names(flat))
    if step.scheme is None:
        return planned(flat, by_name, not getattr(scheme, "float_io", False))[1].layers
    return tuple(
        LayerPlan(
            layer=layer.name,
            kind=type(layer).__name__,
            mode="trained" if chosen(step, layer.name) else "float",
            weights=f"by {step.scheme}" if chosen(step, layer.name) and layer.weights else "",
            outputs=f"by {step.scheme}" if chosen(step, layer.name) else "float",
        )
        for layer in _real_layers(flat)
    )


def quantized(
    model: Any,
    step: QatStep,
    scheme: Scheme,
    steps_per_epoch: int,
    invariants: WeightInvariants = _NOTHING,
    quantizers: Quantizers | None = None,
) -> Any:
    """Create a model with the same weights that trains under quantization; the original is unchanged.

    Args:
        model: A built functional or Sequential Keras model.
        step: The recipe's `qat` step.
        scheme: The recipe's numeric format, a static scheme.
        steps_per_epoch: Training batches per epoch.
        invariants: What the weights must preserve. Tensors with shared values have one range for all channels, so the
            values stay shared after rounding. Zeros are preserved in any case, because zero is always an integer.
        quantizers: The factory of quantizers; None uses quantizers for training.

    Returns:
        An uncompiled functional `tf_keras.Model` with the same inputs, and with outputs of the same shapes.

    Raises:
        SpecError: A name or glob matches no layer, nothing is left to quantize, or a custom object of the task has the
            wrong type.
        ModelError: A layer cannot be quantized; the message names all such layers and how to fix them.
    """
    return _quantized(_flat(model, step, scheme), step, scheme, steps_per_epoch, invariants, quantizers)


def _quantized(
    flat: Any,
    step: QatStep,
    scheme: Scheme,
    steps_per_epoch: int,
    invariants: WeightInvariants,
    quantizers: Quantizers | None,
) -> Any:
    by_name = policies(step, scheme, _names(flat))
    own = None if step.scheme is None else own_object(step.scheme, QuantizeScheme, "scheme")
    ours = Tflite8BitScheme(
        policies=by_name,
        delay=step.delay_activations * steps_per_epoch,
        integer_io=not getattr(scheme, "float_io", False),
        invariants=invariants,
        quantizers=quantizers or Quantizers(steps_per_epoch),
    )
    kinds = {type(layer).__name__: type(layer) for layer in flat.layers}
    names = {name for name, policy in by_name.items() if policy.mode != "float" and (own is None or chosen(step, name))}
    try:
        # This recreates layers from their configs. Lambda layers are allowed, because loading the model already decided
        # whether their code may run.
        with lambdas_allowed(), quantize_scope(kinds):
            made = ours.applied(flat, names) if own is None else quantize_apply(_annotated(flat, names), own)
    except EdgemillError:
        raise
    except Exception as error:
        if own is None:
            # A refused layer is the likely cause, for example a layer with several arguments, which no wrapper accepts.
            planned(flat, by_name, not getattr(scheme, "float_io", False))[1].refuse()
        # TFMOT passes on all errors of the user's layers, configs, and schemes.
        raise ModelError(
            f"the model cannot be prepared for training under quantization: {summary_line(error)}",
            where="qat",
            bound="layers that the scheme supports, and configs that fit them",
            measured=type(error).__name__,
            remedy="give the named layer a config, or exclude it with `except`",
        ) from error
    for layer in made.layers:
        if isinstance(layer, QuantizeWrapper) and not layer.layer.trainable:
            freeze(layer)
    return made


def _annotated(flat: Any, names: Collection[str]) -> Any:
    """The model with the layers of these names annotated for `quantize_apply`."""
    return tf.keras.models.clone_model(
        flat, clone_function=lambda layer: quantize_annotate_layer(layer) if layer.name in names else layer
    )


def ready_to_export(model: Any) -> None:
    """Change how a trained model computes, so that the converter keeps kernels and ranges. It can't be trained then.

    The converter merges equal parts of dilated convolutions of one tensor, and leaves the merged part in float. It also
    moves a range past a reshape or a transposition that reads it. A concatenation, a maximum, and the like then get the
    range of their first input, which clips the others.
    """
    for layer in model.layers:
        wrapped = isinstance(layer, QuantizeWrapper)
        inner = layer.layer if wrapped else layer
        if type(inner).__name__ == "Conv2D" and max(inner.dilation_rate) > 1:
            convolve_at_once(inner)
        quantizers = layer.quantize_config.get_output_quantizers(inner) if wrapped else []
        if quantizers and has_one_scale(type(inner).__name__, getattr(inner, "function", None)):
            change_outputs(layer, partial(_quantized_again, quantizers[0], output_range(layer)))


def _quantized_again(quantizer: Any, variables: dict[str, Any], x: Any) -> Any:
    """Quantize a slice of all of a quantized tensor, which changes no value.

    The converter moves only the second of the two ranges, because the slice separates them. Then it removes the slice.
    """
    whole = tf.slice(x, [0] * x.shape.rank, [-1] * x.shape.rank)
    return quantizer(whole, False, weights=variables)


def trained_kernels(model: Any) -> tuple[WeightTensor, ...]:
    """The weight tensors of a model from `quantized`, by the names of its layers without their wrappers."""
    found: dict[int, WeightTensor] = {}
    for layer in model.layers:
        if isinstance(layer, QuantizeWrapper):
            for variable in quantized_weights(layer):
                weight = variable.name.rpartition("/")[2].partition(":")[0]
                kernel = WeightTensor(layer.layer.name, type(layer.layer).__name__, weight, variable, input_axis=None)
                found.setdefault(id(variable), kernel)
    return (*found.values(), *kernels(model))


def held_ranges(model: Any) -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Yield each range of a quantized model: its tensor, layer, quantizer, and variables."""
    for layer in model.layers:
        if isinstance(layer, IntegerRecurrent):
            for point, (quantizer, variables) in layer.ranges().items():
                yield f"{layer.name}/{point}", layer, quantizer, variables
        elif isinstance(layer, QuantizeWrapper):
            for quantizer in layer.quantize_config.get_output_quantizers(layer.layer)[:1]:
                name, suffix = layer.layer.name, INPUT_QUANTIZER.format("")
                tensor = f"input {name.removesuffix(suffix)}" if name.endswith(suffix) else name
                if isinstance(quantizer, ActivationQuantizer):
                    yield tensor, layer, quantizer, output_range(layer)


def trained_ranges(model: Any) -> tuple[TrainedRange, ...]:
    """The activation ranges of a trained model, from its built-in quantizers."""
    return tuple(_range(tensor, quantizer, variables) for tensor, _, quantizer, variables in held_ranges(model))


def check_ranges(ranges: Sequence[TrainedRange]) -> None:
    """Raise a ModelError if a range is not finite, which means that the activations weren't finite."""
    wrong = [one.tensor for one in ranges if not (math.isfinite(one.low) and math.isfinite(one.high))]
    if wrong:
        raise ModelError(
            "the range of an activation is not finite after training",
            where=f"layer {', '.join(wrong)}",
            bound="finite activations on every training batch",
            remedy="lower the step's learning rate, or look for overflows in these layers",
        )


def _range(tensor: str, quantizer: ActivationQuantizer, variables: dict[str, Any]) -> TrainedRange:
    low, high = np.float32(variables["min_var"].numpy()), np.float32(variables["max_var"].numpy())
    scale = float((high - low) / np.float32(2**quantizer.bits - 1))
    least = -(2 ** (quantizer.bits - 1))
    zero_point = round(least - float(low) / scale) if scale > 0 and math.isfinite(scale) else 0
    seen: tuple[float, float] | None = None
    counts: tuple[int, ...] = ()
    if "counts" in variables:
        held = variables["counts"].numpy().reshape(_HISTOGRAM_BINS, -1).sum(axis=1)
        seen = (float(variables["low"].numpy()), float(variables["high"].numpy()))
        counts = tuple(int(count) for count in held)
    return TrainedRange(
        tensor=tensor, low=float(low), high=float(high), scale=scale, zero_point=zero_point, seen=seen, histogram=counts
    )


def _flat(model: Any, step: QatStep, scheme: Scheme) -> Any:
    """Return the model with nested models flattened and layers of several tensors replaced.

    Wrappers accept one argument, so tensor operations and attention become layers that take one argument. Attention
    layers that have a config from the task stay unchanged.
    """
    own = [one.layers for one in step.configs if one.config]
    nested = {
        name
        for name, layer in all_layers(model)
        if isinstance(getattr(layer, "layer", layer), tf.keras.Model)
        or (type(layer).__name__ in ATTENTION and not any(fits(name, layers) for layers in own))
        or (type(layer).__name__ != "ConvLSTM2D" and written_out_in_training(layer))
    }
    coarse = scheme.activation_bits == 8
    flat = rewrite(model, lambda name: name not in nested, coarse=coarse)
    masks = {name for name, layer in all_layers(model) if type(layer).__name__ in MASKING}
    if masks and not flat.refusals:
        # No layer uses the masks, which wrappers would pass to each layer.
        flat = rewrite(model, lambda name: name not in nested | masks, coarse=coarse)
    return flat.model


def _real_layers(flat: Any) -> list[Any]:
    return [layer for layer in flat.layers if not isinstance(layer, tf.keras.layers.InputLayer)]


def _names(flat: Any) -> list[str]:
    return [layer.name for layer in _real_layers(flat)]
