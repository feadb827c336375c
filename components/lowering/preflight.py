"""Plan how a recipe converts each recurrent layer of a model, before anything is trained. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

from components.cells.plan import (
    LOWERED,
    Refusal,
    inner,
    is_recurrent,
    refused_scheme,
    stays_unrolled,
    why_not,
    why_not_unrolled,
    written_out_in_training,
)
from components.core.errors import ModelError
from components.facts.training import LayerPlan
from components.fake_quantize.rewrite import rewrite
from components.lowering.forms import check_streams
from components.model.keras_graph import all_layers
from components.spec.scheme import Form, Scheme


def plan_layers(model: Any, scheme: Scheme, form: Form | None, trained: bool) -> tuple[LayerPlan, ...]:
    """Plan the conversion of each recurrent layer of a built functional or Sequential Keras model.

    Returns:
        One fact per recurrent layer: `fused` into one operator, `lowered` to a single time step, `unrolled` over the
        sequence, or left as a float `loop`. Empty for a model without recurrent layers.

    Raises:
        ModelError: The scheme and form do not support a layer; the message gives the reason and an alternative.
    """
    found = [(name, layer) for name, layer in all_layers(model) if is_recurrent(layer)]
    if not found:
        if form is not None:
            raise _impossible("model", Refusal("it has no recurrent layer", "remove `recurrent` from the recipe"), form)
        return ()
    if stays_unrolled((layer for _, layer in found), scheme, form, trained):
        return tuple(_unrolled(name, layer, scheme) for name, layer in found)
    plans = tuple(_planned(name, layer, scheme, form, trained) for name, layer in found)
    kinds = {type(inner(layer)).__name__ for _, layer in found if not (trained and written_out_in_training(layer))}
    lowers = form is not None or scheme.is_static
    if lowers and "LSTM" in kinds and kinds & LOWERED:
        name = next(name for name, layer in found if type(inner(layer)).__name__ == "LSTM")
        why = f"a fused LSTM and a {min(kinds & LOWERED)}, which is lowered, cannot be in one integer file"
        raise _impossible(name, Refusal(why, "make all recurrent layers of one kind"), scheme.kind)
    if form == "streaming":
        check_streams(rewrite(model).model)
    return plans


def _planned(name: str, layer: Any, scheme: Scheme, form: Form | None, trained: bool) -> LayerPlan:
    one = inner(layer)
    kind, both = type(one).__name__, type(layer).__name__ == "Bidirectional"
    full_kind = f"Bidirectional {kind}" if both else kind
    if trained and form is None and written_out_in_training(layer):
        return LayerPlan(
            layer=name,
            kind=kind,
            mode="unrolled",
            weights=f"int{scheme.weight_bits}",
            outputs=f"int{scheme.activation_bits} at each step",
            note=f"layers for each of {_steps(layer)} time steps, which share weights and ranges",
        )
    refusal = why_not(layer)
    integers = scheme.is_static
    if not (integers or form):
        return _in_floats(name, full_kind, kind, layer, refusal)
    refusal = refusal or refused_scheme(layer, scheme, form, trained)
    if refusal is None and kind == "LSTM" and one.unroll and not trained:
        refusal = Refusal("it is built with unroll=True, so the converter does not fuse it", "build it without")
    if refusal is not None:
        raise _impossible(name, refusal, scheme.kind if integers else f"recurrent: {form}")
    bits = f"int{scheme.activation_bits}" if integers else "float"
    if kind == "LSTM":
        directions = "one operator per direction" if both else "one operator, which keeps the state inside"
        return LayerPlan(
            layer=name, kind=full_kind, mode="fused", weights="int8 per gate",
            outputs="int8; gates and cell state int16",
            note=f"{directions}; the state is reset before each sequence",
        )  # fmt: skip
    steps = _steps(layer)
    how = (
        "one time step per call; takes and returns its state"
        if form == "streaming"
        else f"plain operators, one set for each of {steps} time steps"
        + ("" if form == "sequence" or not integers else ", or a loop over one set if they are large")
    )
    return LayerPlan(
        layer=name,
        kind=full_kind,
        mode="lowered" if form == "streaming" else "unrolled",
        weights="int8 per gate" if integers else "float per gate",
        outputs=f"{bits} at each step, including the state",
        note=how + ("; the converter's own loop would crash its process" if integers else ""),
    )


def _unrolled(name: str, layer: Any, scheme: Scheme) -> LayerPlan:
    if (refusal := why_not_unrolled(layer)) is not None:
        raise _impossible(name, refusal, scheme.kind)
    kind = type(inner(layer)).__name__
    return LayerPlan(
        layer=name,
        kind=f"Bidirectional {kind}" if type(layer).__name__ == "Bidirectional" else kind,
        mode="unrolled",
        weights="int8",
        outputs=f"int{scheme.activation_bits} at each step",
        note="built with unroll=True: the converter's operators for each time step",
    )


def _steps(layer: Any) -> int:
    """The number of time steps; 0 if it is open."""
    # A layer with an initial state has several inputs.
    shape = layer.input_shape[0] if isinstance(layer.input_shape, list) else layer.input_shape
    return int(shape[1] or 0)


def _in_floats(name: str, full_kind: str, kind: str, layer: Any, refusal: Refusal | None) -> LayerPlan:
    if kind == "LSTM" and refusal is None and not inner(layer).unroll:
        return LayerPlan(layer=name, kind=full_kind, mode="fused", outputs="float", note="one operator")
    if inner(layer).unroll if hasattr(inner(layer), "unroll") else False:
        return LayerPlan(layer=name, kind=full_kind, mode="unrolled", outputs="float", note="built with unroll=True")
    why = f"; integers are not possible: {refusal.reason}" if refusal else ""
    return LayerPlan(layer=name, kind=full_kind, mode="loop", outputs="float", note=f"a float loop{why}")


def _impossible(name: str, refusal: Refusal, scheme: str) -> ModelError:
    what = f"this recipe cannot be applied: {refusal.reason}"
    return ModelError(what, where=f"layer {name}", measured=scheme, remedy=refusal.remedy)
