"""Finds the fix for the cause of a fault, as a recipe for the pipeline file if possible. Pure functions."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.facts.explanation import Cause, Remedy
from components.spec.scheme import CalibratedScheme, Scheme
from components.spec.schemes.limits import OPERATORS


@dataclass(frozen=True)
class Situation:
    """The facts that the fix depends on.

    Attributes:
        recipe: Snapshot of the candidate's recipe.
        scheme: Its scheme.
        layers: Names of the layers that must stay in float until the next one reads their values; empty if one has no
            name.
        layer: Name of the layer at fault.
        kind: Kind of its operator; empty for an input.
        operators: Kinds of all operators of the file.
    """

    recipe: Mapping[str, Any]
    scheme: Scheme
    layers: tuple[str, ...]
    layer: str
    kind: str
    operators: frozenset[str]

    @property
    def trains(self) -> bool:
        """Whether a step trains ranges."""
        return any(step["kind"] == "qat" for step in self.recipe.get("steps", ()))

    @property
    def training(self) -> str:
        """Describe what training under quantization can still do."""
        if self.trains:
            return "train the model under quantization for more epochs"
        return "add a `qat` step, which trains the model under quantization"

    def cured(self, scheme: str | dict[str, Any]) -> dict[str, Any]:
        """The recipe with another scheme, under a new name."""
        changed = {name: value for name, value in self.recipe.items() if name in {"steps", "recurrent"} and value}
        return {"name": f"{str(self.recipe['name'])[:42]}_cured", **changed, "scheme": scheme}

    def with_16_bits(self) -> dict[str, Any] | None:
        """The recipe with 16-bit activations; None if no scheme has them, or an operator has no kernel for them."""
        limits = [OPERATORS[kind] for kind in self.operators if kind in OPERATORS]
        finer = self.scheme.finer_activations
        if finer is None or any(one.refused_in_16_bits or one.not_run_in_16_bits for one in limits):
            return None
        return self.cured(finer)

    def with_finer_weights(self) -> dict[str, Any] | None:
        """The recipe with more bits in its weights; None if no scheme has them."""
        return self.cured(self.scheme.finer_weights) if self.scheme.finer_weights else None

    def with_float(self, names: Sequence[str]) -> dict[str, Any] | None:
        """The recipe with layers kept in float; None if its scheme cannot do that."""
        if self.trains or not isinstance(self.scheme, CalibratedScheme) or not names or not all(names):
            return None
        return self.cured({"kind": self.scheme.kind, "keep_float": list(dict.fromkeys(map(pattern, names)))})


def pattern(layer: str) -> str:
    """The pattern of a layer for `keep_float`, without the model's name, which Keras may number."""
    scope, _, inner = layer.partition("/")
    return f"*/{glob.escape(inner)}" if inner else glob.escape(scope)


def cure(cause: Cause, situation: Situation) -> Remedy:
    """How to fix a fault."""
    return _CURES[cause](situation)


def _finer_activations(change_model: str) -> Callable[[Situation], Remedy]:
    def made(at: Situation) -> Remedy:
        if recipe := at.with_16_bits():
            return Remedy(
                words=f"use 16-bit activations, whose steps are 256 times finer, or {change_model}", recipe=recipe
            )
        if recipe := at.with_float(at.layers):
            layers = " and ".join(at.layers)
            words = f"keep {layers} in float, so that these values aren't stored as integers, or {change_model}"
            return Remedy(words=words, recipe=recipe)
        return Remedy(words=change_model)

    return made


def _saturated(at: Situation) -> Remedy:
    if at.trains:
        return Remedy(words="train the ranges for more epochs, on data like this")
    if at.scheme.range_estimator.kind != "min_max":
        words = "calibrate from the smallest to the largest value, which clips none of the sample"
        return Remedy(words=words, recipe=at.cured({"kind": at.scheme.kind, "calibration_method": "min_max"}))
    words = "calibrate on more samples, from a split with the same kind of data: raise `calibrate.samples`"
    return Remedy(words=words)


def _outliers(at: Situation) -> Remedy:
    if at.scheme.is_static and not at.trains and at.scheme.range_estimator.kind == "min_max":
        words = "clip the few largest values, or train with weight decay or ReLU6"
        return Remedy(words=words, recipe=at.cured({"kind": at.scheme.kind, "calibration_method": "mse"}))
    return _finer_activations("train with weight decay or ReLU6")(at)


def _weights(change_model: str) -> Callable[[Situation], Remedy]:
    def made(at: Situation) -> Remedy:
        if recipe := at.with_float([at.layer]):
            return Remedy(words=f"keep {at.layer} in float, or {change_model}", recipe=recipe)
        if at.scheme.is_dynamic_range and (recipe := at.with_finer_weights()):
            return Remedy(words=f"store weights as {recipe['scheme']}, or {change_model}", recipe=recipe)
        return Remedy(words=change_model)

    return made


def _one_scale(at: Situation) -> Remedy:
    if getattr(at.scheme, "granularity", "per_channel") == "per_tensor":
        words = "give each channel of a convolution its own scale"
        return Remedy(words=words, recipe=at.cured({"kind": at.scheme.kind, "granularity": "per_channel"}))
    change = "divide its outputs into layers of similar ranges, because a dense layer has one scale"
    return _weights(change)(at)


def _bias_overflow(at: Situation) -> Remedy:
    # The converter also makes the weights of dense layers coarser with 16-bit activations.
    if at.kind != "FULLY_CONNECTED" and (recipe := at.with_16_bits()):
        return Remedy(
            words="use 16-bit activations, whose biases have 64 bits, or make the bias smaller", recipe=recipe
        )
    return _weights("make the bias smaller, or scale the layer's inputs up")(at)


def _few_bits(at: Situation) -> Remedy:
    return Remedy(words="use 8-bit weights, or train them longer", recipe=at.with_finer_weights())


def _more_precision(at: Situation) -> Remedy:
    return _finer_activations(at.training)(at)


def _better_weights(at: Situation) -> Remedy:
    return _weights(at.training)(at)


_CURES: dict[Cause, Callable[[Situation], Remedy]] = {
    "dominant_channel": _finer_activations("scale this channel down in the model, and up again where it is read"),
    "outliers": _outliers,
    "saturated": _saturated,
    "unequal_concatenation": _finer_activations("scale the inputs of the concatenation to similar ranges in the model"),
    "hard_swish": _finer_activations("replace hard-swish with ReLU6 and train again"),
    "many_places": _finer_activations("use a softmax over fewer positions, or scale its inputs up"),
    "bias_overflow": _bias_overflow,
    "one_scale": _one_scale,
    "few_bits": _few_bits,
    "not_finite": _more_precision,
    "weights": _better_weights,
    "activations": _more_precision,
}
