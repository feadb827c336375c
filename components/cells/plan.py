"""Decide from a Keras layer whether it can be fused or lowered, before anything runs. Doesn't import TensorFlow.

The converter fuses an LSTM into one operator if it meets Keras' requirements for its fast kernel. Any other recurrent
layer becomes a loop, whose calibration kills the process (TensorFlow 2.16), unless it is lowered to plain integer
operators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from components.spec.scheme import Form, Scheme
from components.spec.schemes.limits import LSTM_NOT_IN_4_BITS, LSTM_NOT_IN_16_BITS, UNROLLED_NOT_IN_16_BITS
from components.upstream.keras import calls_of, is_masked

LOWERED = frozenset({"GRU", "SRU", "SimpleRNN"})
RECURRENT = LOWERED | {"LSTM", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "RNN", "StackedRNNCells"}
# Layers that training under quantization can expand into time steps.
WRITTEN_OUT_IN_TRAINING = ("ConvLSTM2D", "GRU", "LSTM", "SimpleRNN")
# Supported activations of the candidate state. Gates must use sigmoid.
ACTIVATIONS = ("tanh", "relu", "sigmoid", "linear")


@dataclass(frozen=True)
class Refusal:
    """Why a layer cannot be computed in integers, and how to fix it."""

    reason: str
    remedy: str


_STATEFUL = Refusal("it is stateful", "build it with stateful=False; the streaming form takes and returns the state")
_MASKED = Refusal(
    "its inputs are masked, and integer kernels run every time step",
    "remove the Masking layer (or mask_zero), and train on padded sequences as they are",
)


def is_recurrent(layer: Any) -> bool:
    """Whether a Keras layer is recurrent."""
    kinds = {base.__name__ for base in type(layer).__mro__}
    return bool(kinds & RECURRENT)


def inner(layer: Any) -> Any:
    """The recurrent layer itself, or the forward layer of a `Bidirectional`."""
    return layer.forward_layer if type(layer).__name__ == "Bidirectional" else layer


def why_not(layer: Any) -> Refusal | None:
    """Why neither the fused kernel nor the lowering can compute a built recurrent layer; None if one of them can."""
    one = inner(layer)
    kind = type(one).__name__
    config = one.get_config()
    if kind not in LOWERED | {"LSTM"}:
        remedy = (
            "process frames with Conv2D layers in the task's decode or before an LSTM, GRU, or SRU of vectors; or add "
            "a step `qat`, which expands a ConvLSTM2D"
        )
        if not kind.startswith("ConvLSTM"):
            remedy = "use LSTM, GRU, SimpleRNN, or SRU from components.cells.sru"
        return Refusal(f"{kind} has neither a fused integer kernel nor a lowered form", remedy)
    if config.get("stateful"):
        return _STATEFUL
    if config.get("return_state"):
        return Refusal(
            "it returns its state (return_state=True)",
            "build it with return_state=False; the streaming form returns every state, and the last output of a GRU "
            "is its state" + ("; or add a step `qat`, which expands the layer" if kind == "LSTM" else ""),
        )
    if config.get("time_major"):
        return Refusal("its inputs are time-major", "build it with time_major=False")
    if any(len(_flat(node.keras_inputs)) > 1 for node in calls_of(layer)):
        return Refusal(
            "it is given an initial state", "let it start from zeros; or add a step `qat`, which expands the layer"
        )
    return _MASKED if _masked(layer) else _functions(kind, config)


def stays_unrolled(layers: Iterable[Any], scheme: Scheme, form: Form | None, trained: bool) -> bool:
    """Whether a model's recurrent layers are converted as Keras unrolls them, not fused or lowered.

    They are if all of them are built with `unroll=True`, and one of them can't be fused or lowered in the scheme. The
    converter measures the ranges of the operators of each time step, and shares the weights among them.
    """
    found = list(layers)
    if form is not None or trained or not scheme.is_static or scheme.backend != "tensorflow":
        return False
    if not found or not all(getattr(inner(layer), "unroll", False) for layer in found):
        return False
    return scheme.activation_bits == 16 or any(
        type(inner(layer)).__name__ == "LSTM" or why_not(layer) is not None for layer in found
    )


def why_not_unrolled(layer: Any) -> Refusal | None:
    """Why a layer that `stays_unrolled` can't be converted to integers; None if it can."""
    if inner(layer).get_config().get("stateful"):
        return _STATEFUL
    return _MASKED if _masked(layer) else None


def written_out_in_training(layer: Any) -> bool:
    """Whether training under quantization expands a recurrent layer into layers for each time step.

    It does so with a ConvLSTM2D, and with layers whose states the model returns or reads, if their inputs have a fixed
    shape and no mask.
    """
    kind, config = type(layer).__name__, layer.get_config()
    nodes = calls_of(layer)
    if kind not in WRITTEN_OUT_IN_TRAINING or not nodes or config.get("stateful") or _masked(layer):
        return False
    starts = [len(_flat(node.keras_inputs)) > 1 for node in nodes]
    if None in _flat(nodes[0].keras_inputs)[0].shape[1:] or config.get("time_major"):
        return False
    if kind == "ConvLSTM2D":
        return config["data_format"] == "channels_last" and not config["return_state"] and not any(starts)
    if kind == "LSTM":
        return bool(config["return_state"]) or any(starts)
    return all(starts)


def _functions(kind: str, config: Mapping[str, Any]) -> Refusal | None:
    if kind == "SRU":
        return None
    activation = _named(config["activation"])
    gate = _named(config.get("recurrent_activation", "sigmoid"))
    allowed = ("tanh",) if kind == "LSTM" else ACTIVATIONS
    if activation not in allowed:
        return Refusal(f"its activation is {activation}", f"use {' or '.join(allowed)}")
    if gate != "sigmoid":
        return Refusal(f"its recurrent activation is {gate}", "use sigmoid")
    if kind == "LSTM" and not config.get("use_bias", True):
        return Refusal("it has no bias, so the converter does not fuse it", "build it with use_bias=True")
    if kind == "LSTM" and config.get("recurrent_dropout"):
        return Refusal(
            "it has recurrent dropout, so the converter does not fuse it", "use dropout instead of recurrent_dropout"
        )
    return None


def _masked(layer: Any) -> bool:
    return any(is_masked(tensor) for node in calls_of(layer) for tensor in _flat(node.keras_inputs))


def _flat(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def _named(function: Any) -> str:
    return function if isinstance(function, str) else str(getattr(function, "__name__", None) or function)


def refused_scheme(layer: Any, scheme: Scheme, form: Form | None, trained: bool) -> Refusal | None:
    """Why a recurrent layer that `why_not` accepts does not support a scheme or a form; None if it does."""
    kind = type(inner(layer)).__name__
    both_ways = type(layer).__name__ == "Bidirectional"
    if both_ways and form == "streaming":
        return Refusal(
            "a bidirectional layer needs the end of the sequence, which the streaming form never has",
            "use `recurrent: sequence`",
        )
    if kind == "LSTM":
        return _refused_lstm(scheme, form)
    if scheme.must_be_trained and not trained:
        return Refusal("4-bit weights must be trained", "add a step `qat`, or use static_wi8_ai8")
    if scheme.activation_bits == 16 and form != "streaming":
        return Refusal(
            UNROLLED_NOT_IN_16_BITS,
            "use `recurrent: streaming`, or static_wi8_ai8",
        )
    if scheme.kept_float is not None:
        return Refusal(
            "the lowering can't keep layers in float",
            "remove `keep_float`; use `calibration_method` or static_wi8_ai16 instead",
        )
    if scheme.is_static and getattr(scheme, "float_fallback", False) and not trained:
        return Refusal("the lowering computes everything in integers", "remove `float_fallback`")
    return None


def _refused_lstm(scheme: Scheme, form: Form | None) -> Refusal | None:
    if form == "streaming":
        return Refusal(
            "the fused LSTM keeps its state inside, so it has no streaming form",
            "remove `recurrent`, or use a GRU or an SRU",
        )
    if scheme.activation_bits == 16:
        return Refusal(
            LSTM_NOT_IN_16_BITS,
            "use static_wi8_ai8, whose LSTM uses 16 bits internally and 8 bits for inputs and outputs, or use a GRU "
            "or SRU in "
            "static_wi8_ai16",
        )
    if scheme.weight_bits == 4:
        return Refusal(LSTM_NOT_IN_4_BITS, "take static_wi8_ai8")
    if scheme.backend == "aeq":
        return Refusal(
            "ranges cannot be injected into the fused LSTM, and no other layer of its model can stay in float",
            "leave out `calibration_method` and `keep_float`",
        )
    return None
