"""Recurrent cells, computed one operator at a time like TFLite's integer kernels. Imports TensorFlow.

Calibration, training, the streaming form, and the sequence form share one definition. A cell computes with an
`Arithmetic`, which decides what happens at a range: nothing (floats), observation, or fake quantization.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from components.cells.arithmetic import FIXED, Arithmetic, Cell, activated, affine, after_name
from components.cells.sru import GATES


@dataclass(frozen=True)
class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), with and without Keras' `reset_after`.

    The update `h' = hh + z * (h - hh)` needs one product less than Keras' `z * h + (1 - z) * hh`.
    """

    kind = "GRU"
    reset_after: bool = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {f"kernel_{gate}": (self.features, self.units) for gate in "zrh"}
        found |= {f"recurrent_{gate}": (self.units, self.units) for gate in "zrh"}
        if self.biased:
            found |= {f"bias_{gate}": (self.units,) for gate in "zrh"}
            if self.reset_after:
                found |= {f"recurrent_bias_{gate}": (self.units,) for gate in "zrh"}
        return found

    def weights(self, layer: Any) -> list[Any]:
        kernel, recurrent, *biases = layer.get_weights()
        rows = [kernel, recurrent, *(list(biases[0]) if biases and self.reset_after else biases)]
        return [row[..., index * self.units : (index + 1) * self.units] for row in rows for index in range(3)]

    def projected(self) -> tuple[str, ...]:
        return ("x_z", "x_r", "x_h")

    def points(self) -> tuple[str, ...]:
        return ("h_z", "h_r", "h_h", "sum_z", "sum_r", "reset", "sum_h", *self._candidate(), "delta", "update", "h")

    def _candidate(self) -> tuple[str, ...]:
        return () if self.activation in FIXED else ("candidate",)

    def project(self, a: Arithmetic, x: Any) -> tuple[Any, ...]:
        return tuple(
            affine(a, f"x_{gate}", x, f"kernel_{gate}", f"bias_{gate}" if self.biased else None) for gate in "zrh"
        )

    def step(self, a: Arithmetic, xs: tuple[Any, ...], states: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        h = states["h"]
        z, r = (
            a.fixed("sigmoid", tf.sigmoid(a.ranged(f"sum_{gate}", x + self._recurrent(a, gate, h))))
            for gate, x in zip("zr", xs, strict=False)
        )
        if self.reset_after:
            reset = a.ranged("reset", r * self._recurrent(a, "h", h))
        else:
            reset = self._recurrent(a, "h", a.ranged("reset", r * h))
        candidate = activated(a, self.activation, a.ranged("sum_h", xs[2] + reset))
        if self._candidate():
            candidate = a.ranged("candidate", candidate)
        update = a.ranged("update", z * a.ranged("delta", h - candidate))
        after = a.ranged("h", tf.add(candidate, update, name=after_name("h")))
        return after, {"h": after}

    def _recurrent(self, a: Arithmetic, gate: str, h: Any) -> Any:
        bias = f"recurrent_bias_{gate}" if self.biased and self.reset_after else None
        return affine(a, f"h_{gate}", h, f"recurrent_{gate}", bias)


@dataclass(frozen=True)
class SRU(Cell):
    """Simple recurrent unit (Lei et al. 2018, arXiv:1709.02755); see `components.cells.sru`."""

    kind = "SRU"
    states = ("c",)

    @property
    def _projects(self) -> bool:
        return self.features != self.units

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {
            f"kernel_{gate}": (self.features, self.units) for gate in GATES[: 4 if self._projects else 3]
        }
        found |= {f"state_{gate}": (self.units,) for gate in ("forget", "reset")}
        return found | {f"bias_{gate}": (self.units,) for gate in ("forget", "reset")}

    def weights(self, layer: Any) -> list[Any]:
        kernel, state_kernel, bias = layer.get_weights()
        parts = [kernel[:, start : start + self.units] for start in range(0, kernel.shape[1], self.units)]
        return [*parts, *state_kernel, *bias]

    def projected(self) -> tuple[str, ...]:
        return tuple(f"x_{gate}" for gate in GATES[: 4 if self._projects else 3])

    def points(self) -> tuple[str, ...]:
        gates = tuple(f"{part}_{gate}" for gate in ("forget", "reset") for part in ("peek", "sum"))
        return (*gates, "delta_c", "update_c", "c", "delta_h", "update_h", "h")

    def for_output(self) -> frozenset[int]:
        """See the base class: the reset gate and the skip."""
        return frozenset({2, 3})

    def project(self, a: Arithmetic, x: Any) -> tuple[Any, ...]:
        parts = [
            affine(a, f"x_{gate}", x, f"kernel_{gate}", f"bias_{gate}" if gate in {"forget", "reset"} else None)
            for gate in GATES[: 4 if self._projects else 3]
        ]
        return (*parts, *(() if self._projects else (x,)))

    def step(self, a: Arithmetic, xs: tuple[Any, ...], states: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        candidate, _, _, skip = xs
        c = states["c"]
        forget = self._gate(a, "forget", xs[1], c)
        update = a.ranged("update_c", forget * a.ranged("delta_c", c - candidate))
        after = a.ranged("c", tf.add(candidate, update, name=after_name("c")))
        if skip is None:
            return None, {"c": after}
        reset = self._gate(a, "reset", xs[2], c)
        output = a.ranged("h", skip + a.ranged("update_h", reset * a.ranged("delta_h", after - skip)))
        return output, {"c": after}

    def _gate(self, a: Arithmetic, gate: str, x: Any, c: Any) -> Any:
        return a.fixed("sigmoid", tf.sigmoid(a.ranged(f"sum_{gate}", x + self._peek(a, gate, c))))

    def _peek(self, a: Arithmetic, gate: str, c: Any) -> Any:
        return a.ranged(f"peek_{gate}", c * a.vector(f"state_{gate}"))


@dataclass(frozen=True)
class SimpleRNN(Cell):
    """Simple recurrent network, `h' = activation(x W + h U + b)`."""

    kind = "SimpleRNN"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found = {"kernel": (self.features, self.units), "recurrent": (self.units, self.units)}
        return found | ({"bias": (self.units,)} if self.biased else {})

    def weights(self, layer: Any) -> list[Any]:
        return list(layer.get_weights())

    def projected(self) -> tuple[str, ...]:
        return ("x_h",)

    def points(self) -> tuple[str, ...]:
        return ("h_h", "sum_h", *(() if self.activation in FIXED else ("h",)))

    def project(self, a: Arithmetic, x: Any) -> tuple[Any, ...]:
        return (affine(a, "x_h", x, "kernel", "bias" if self.biased else None),)

    def step(self, a: Arithmetic, xs: tuple[Any, ...], states: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        recurrent = affine(a, "h_h", states["h"], "recurrent", None)
        after = activated(a, self.activation, a.ranged("sum_h", xs[0] + recurrent), name=after_name("h"))
        if self.activation not in FIXED:
            after = a.ranged("h", after)
        return after, {"h": after}

    def enter(self, a: Arithmetic, state: str, value: Any) -> Any:
        """See the base class: the kernel of the activation prescribes the scale."""
        return a.fixed(self.activation, value) if self.activation in FIXED else a.ranged(state, value)


@dataclass(frozen=True)
class LSTM(Cell):
    """Long short-term memory, computed like the fused integer kernel: 16 bits inside, 8-bit inputs and outputs.

    Gates have 16 bits, 12 of them fractional before the activation and 15 after it. The cell state has 16 bits and a
    power of two as scale; the hidden state has 8 bits (Li and Alvarez 2021, "On the quantization of recurrent neural
    networks", arXiv:2101.05453; `tensorflow/lite/kernels/lstm_eval.cc`).
    """

    kind = "LSTM"
    states = ("h", "c")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {f"kernel_{gate}": (self.features, self.units) for gate in "ifco"}
        found |= {f"recurrent_{gate}": (self.units, self.units) for gate in "ifco"}
        return found | {f"bias_{gate}": (self.units,) for gate in "ifco"}

    def weights(self, layer: Any) -> list[Any]:
        return [
            row[..., index * self.units : (index + 1) * self.units] for row in layer.get_weights() for index in range(4)
        ]

    def projected(self) -> tuple[str, ...]:
        return ()

    def points(self) -> tuple[str, ...]:
        return ("c", "h")

    def project(self, a: Arithmetic, x: Any) -> tuple[Any, ...]:
        """See the base class. The kernel adds both products before it rounds them."""
        return tuple(
            tf.nn.bias_add(tf.matmul(x, a.kernel(f"kernel_{gate}")), a.bias(f"bias_{gate}")) for gate in "ifco"
        )

    def step(self, a: Arithmetic, xs: tuple[Any, ...], states: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        i, f, g, o = (
            a.fixed("gate", x + tf.matmul(states["h"], a.kernel(f"recurrent_{gate}")))
            for gate, x in zip("ifco", xs, strict=True)
        )
        i, f, o = (a.fixed("inner", tf.sigmoid(gate)) for gate in (i, f, o))
        c = a.ranged("c", f * states["c"] + i * a.fixed("inner", tf.tanh(g)))
        h = a.ranged("h", o * a.fixed("inner", tf.tanh(c)))
        return h, {"h": h, "c": c}


CELLS: dict[str, type[Cell]] = {kind.kind: kind for kind in (GRU, SRU, SimpleRNN, LSTM)}


def cell_of(layer: Any, features: int) -> Cell:
    """The cell of a Keras layer that `components.cells.plan.why_not` accepts."""
    config = layer.get_config()
    units = int(config["units"])
    match type(layer).__name__:
        case "GRU":
            return GRU(units, features, _name(config), bool(config["use_bias"]), bool(config["reset_after"]))
        case "SRU":
            return SRU(units, features)
        case "SimpleRNN":
            return SimpleRNN(units, features, _name(config), bool(config["use_bias"]))
        case "LSTM":
            return LSTM(units, features)
        case kind:
            raise ValueError(f"{kind} is not a supported recurrent layer")


def _name(config: Mapping[str, Any]) -> str:
    return str(config["activation"])
