"""How quantization-aware training treats each layer, resolved from a recipe. Doesn't import TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from components.core.errors import SpecError
from components.spec.scheme import Scheme
from components.spec.steps import layer_patterns
from components.spec.steps.layer_patterns import check_fits, fits
from components.spec.steps.qat import ActivationQuantization, CustomQuantizer, QatStep

Mode = Literal["trained", "observed", "float"]


@dataclass(frozen=True)
class LayerPolicy:
    """How one layer is quantized.

    Attributes:
        mode: `trained` under quantization; `observed`, with ranges observed in training and applied afterward; or
            `float`.
        weight_bits: 8 or 4.
        per_channel: Whether the weights have a scale per channel if the kernel supports it.
        trains_weights: Whether the weights are quantized in training. After training, they always are.
        weight_quantizer: A custom quantizer of the task, instead of the built-in one.
        activations: How outputs are quantized; None only observes their range.
        says_activations: Whether the pipeline file sets `activations` for this layer specifically.
        activation_bits: 8 or 16.
        extremes: Whether a built-in range includes all values, which it must for an output of the model.
        config: Reference of a custom QuantizeConfig of the task, which overrides all other attributes.
    """

    mode: Mode = "trained"
    weight_bits: int = 8
    per_channel: bool = True
    trains_weights: bool = True
    weight_quantizer: CustomQuantizer | None = None
    activations: ActivationQuantization | None = field(default_factory=ActivationQuantization)
    says_activations: bool = False
    activation_bits: int = 8
    extremes: bool = False
    config: str | None = None


def policies(step: QatStep, scheme: Scheme, names: Iterable[str]) -> dict[str, LayerPolicy]:
    """The policy of each layer of a model in a static scheme, by name; nested layers are called `outer/inner`.

    Raises:
        SpecError: A name or glob matches no layer, or nothing is left to quantize.
    """
    known = list(names)
    fields: dict[str, tuple[str, ...]] = {"layers": step.layers, "except": step.except_layers}
    fields |= {f"configs[{index}].layers": config.layers for index, config in enumerate(step.configs)}
    check_fits(fields.items(), known)
    found = {name: _policy(step, scheme, name) for name in known}
    if all(policy.mode != "trained" for policy in found.values()):
        raise SpecError(
            "the step quantizes nothing in training",
            where="layers",
            bound="at least one layer that `layers` names and `except` does not",
            measured=f"layers {list(step.layers)}, except {list(step.except_layers)}",
            remedy="choose other layers, or remove the step",
        )
    return found


def chosen(step: QatStep, name: str) -> bool:
    """Whether a layer is trained under quantization."""
    return layer_patterns.chosen(name, step.layers, step.except_layers)


def _policy(step: QatStep, scheme: Scheme, name: str) -> LayerPolicy:
    own = [config for config in step.configs if fits(name, config.layers)]
    mode: Mode = "float" if getattr(scheme, "float_fallback", False) else "observed"
    if chosen(step, name):
        mode = "trained"
    config = next((one.config for one in reversed(own) if one.config), None)
    weights = next((one.weights for one in reversed(own) if one.weights is not None), step.weights)
    activations = next((one.activations for one in reversed(own) if one.activations is not None), step.activations)
    trains = weights != "none"
    settings = step.weights if weights == "none" else weights
    granularity = settings.granularity or step.weights.granularity or getattr(scheme, "granularity", "per_channel")
    bits = settings.bits or step.weights.bits or scheme.weight_bits
    return LayerPolicy(
        mode=mode,
        weight_bits=bits,
        per_channel=granularity == "per_channel",
        trains_weights=trains,
        weight_quantizer=settings.quantizer or step.weights.quantizer,
        activations=None if activations == "none" else activations,
        says_activations=any(one.activations is not None for one in own),
        activation_bits=scheme.activation_bits,
        config=config if mode != "float" else None,
    )
