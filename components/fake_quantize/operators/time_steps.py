"""Recurrent layers that are neither fused nor lowered, written out as layers for each time step. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from components.cells.plan import written_out_in_training
from components.fake_quantize.operators.parts import Parts

_layers = tf.keras.layers
_LSTM, _GRU = "ifco", "zrh"


def time_steps(parts: Parts, layer: Any, args: Any, kwargs: Any) -> Any:
    """The outputs, and the states if it returns them, of a layer that `written_out_in_training` accepts.

    All time steps share the layers, and with them weights and ranges. These layers are a ConvLSTM2D (Shi et al. 2015,
    arXiv:1506.04214), an LSTM whose cell state is read or given, and a GRU or a SimpleRNN whose state is given.
    """
    if not written_out_in_training(layer) or any(kwargs.get(key) is not None for key in ("mask", "initial_state")):
        return None
    x, *states = args[0] if isinstance(args[0], list | tuple) else [args[0]]
    cell = _Cell(parts, layer)
    outputs = []
    for step in reversed(range(x.shape[1])) if layer.go_backwards else range(x.shape[1]):
        frame = parts.function("__operators__.getitem", f"frame_{step}", x, (slice(None), step))
        states = cell.step(frame, states, step)
        outputs.append(states[0])
    if layer.return_sequences:
        y = parts.function("stack", "", outputs, axis=1)
    else:
        y = parts.layer(_layers.Activation, "", {"activation": "linear"}, outputs[-1])
    return [y, *states] if layer.return_state else y


class _Cell:
    def __init__(self, parts: Parts, layer: Any) -> None:
        self._parts, self._layer, self._weights = parts, layer, layer.get_weights()
        self._kind = type(layer).__name__
        self._units = layer.cell.filters if self._kind == "ConvLSTM2D" else layer.units

    def step(self, frame: Any, states: list[Any], step: int) -> list[Any]:
        """The states after a time step; the first is the output."""
        if self._kind in {"LSTM", "ConvLSTM2D"}:
            return self._lstm(frame, states, step)
        return [self._gru(frame, states[0], step) if self._kind == "GRU" else self._simple(frame, states[0])]

    def _lstm(self, frame: Any, states: list[Any], step: int) -> list[Any]:
        parts, layer = self._parts, self._layer
        total = self._read(frame, 4)
        if states:
            total = parts.layer(_layers.Add, "total", {}, [total, self._recurrent(states[0], 4)])
        gates = [
            parts.activation(
                layer.activation if gate == "c" else layer.recurrent_activation,
                f"{gate}_gate",
                self._part(total, place, f"{gate}_{step}"),
            )
            for place, gate in enumerate(_LSTM)
        ]
        i, f, g, o = gates
        c = parts.layer(_layers.Multiply, "written", {}, [i, g])
        if states:
            c = parts.layer(_layers.Add, "cell", {}, [parts.layer(_layers.Multiply, "kept", {}, [f, states[1]]), c])
        squashed = parts.activation(layer.activation, "squashed", c)
        return [parts.layer(_layers.Multiply, "h", {}, [o, squashed]), c]

    def _gru(self, frame: Any, h: Any, step: int) -> Any:
        parts, layer = self._parts, self._layer
        read = self._read(frame, 3)
        # If the reset comes before the product, only two gates read the unchanged state.
        recurrent = self._recurrent(h, 3) if layer.reset_after else self._of_state("recurrent", h, slice(0, 2))
        xs = [self._part(read, place, f"x_{gate}_{step}") for place, gate in enumerate(_GRU)]
        gates = _GRU if layer.reset_after else _GRU[:2]
        hs = [self._part(recurrent, place, f"h_{gate}_{step}") for place, gate in enumerate(gates)]
        z, r = (
            parts.activation(
                layer.recurrent_activation,
                f"{gate}_gate",
                parts.layer(_layers.Add, f"total_{gate}", {}, [xs[place], hs[place]]),
            )
            for place, gate in enumerate("zr")
        )
        reset = parts.layer(_layers.Multiply, "reset", {}, [r, hs[2] if layer.reset_after else h])
        if not layer.reset_after:
            reset = self._of_state("reset_recurrent", reset, slice(2, 3))
        total = parts.layer(_layers.Add, "total", {}, [xs[2], reset])
        candidate = parts.activation(layer.activation, "candidate", total)
        delta = parts.layer(_layers.Subtract, "delta", {}, [h, candidate])
        update = parts.layer(_layers.Multiply, "update", {}, [z, delta])
        return parts.layer(_layers.Add, "h", {}, [candidate, update])

    def _of_state(self, name: str, h: Any, gates: slice) -> Any:
        """The contribution of the state to some gates, without a bias."""
        part = slice(gates.start * self._units, gates.stop * self._units)
        return self._projected(name, h, gates.stop - gates.start, [self._weights[1][:, part]])

    def _simple(self, frame: Any, h: Any) -> Any:
        total = self._parts.layer(_layers.Add, "total", {}, [self._read(frame, 1), self._recurrent(h, 1)])
        return self._parts.activation(self._layer.activation, "h", total)

    def _read(self, frame: Any, gates: int) -> Any:
        """The contribution of a frame to the gates."""
        bias = [] if len(self._weights) < 3 else [self._weights[2].reshape(-1, self._weights[0].shape[-1])[0]]
        return self._projected("input", frame, gates, [self._weights[0], *bias])

    def _recurrent(self, h: Any, gates: int) -> Any:
        """The contribution of the state to the gates."""
        bias = [self._weights[2][1]] if self._kind == "GRU" and len(self._weights) > 2 else []
        return self._projected("recurrent", h, gates, [self._weights[1], *bias])

    def _projected(self, name: str, x: Any, gates: int, weights: list[Any]) -> Any:
        config: dict[str, Any] = {"use_bias": len(weights) > 1}
        if self._kind != "ConvLSTM2D":
            config["units"] = gates * self._units
            return self._parts.layer(_layers.Dense, name, config, x, weights, self._layer.trainable)
        cell = self._layer.cell
        config |= {"filters": gates * self._units, "kernel_size": cell.kernel_size, "padding": "same"}
        if name == "input":
            config |= {"strides": cell.strides, "padding": cell.padding, "dilation_rate": cell.dilation_rate}
        return self._parts.layer(_layers.Conv2D, name, config, x, weights, self._layer.trainable)

    def _part(self, gates: Any, place: int, name: str) -> Any:
        part = slice(place * self._units, (place + 1) * self._units)
        return self._parts.function("__operators__.getitem", name, gates, (Ellipsis, part))
