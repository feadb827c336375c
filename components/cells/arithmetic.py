"""The arithmetic interface of recurrent cells, and their base class. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import tensorflow as tf

# The kernel of the fused LSTM reads the cell state with at least 0 integer bits. With a narrower range, it skips the
# tanh of the cell state, and returns whatever its memory held (TensorFlow 2.16).
LEAST_CELL_RANGE = 1.0
# Functions that have a TFLite kernel. For the fixed ones, the kernel prescribes the output scale.
FIXED = frozenset({"tanh", "sigmoid"})
ACTIVATIONS = FIXED | {"relu", "linear"}
Weights = dict[str, Any]


class Arithmetic(Protocol):
    """Operations that a cell computes with: in float, or under quantization."""

    def kernel(self, name: str) -> Any:
        """A weight matrix with its own scale."""

    def vector(self, name: str) -> Any:
        """A weight vector for element-wise multiplication."""

    def bias(self, name: str) -> Any:
        """A bias, whose integers have the scale of the product that it is added to."""

    def ranged(self, point: str, value: Any) -> Any:
        """A value whose range is measured."""

    def fixed(self, function: str, value: Any) -> Any:
        """A result of `tanh` or `sigmoid`, whose scale the kernel prescribes."""


@dataclass(frozen=True)
class Cell:
    """A cell and its sizes.

    Attributes:
        units: Size of the output.
        features: Size of the input.
        activation: Activation of the candidate state.
        biased: Whether the cell has biases.
    """

    units: int
    features: int
    activation: str = "tanh"
    biased: bool = True

    kind: ClassVar[str]
    # Names of the states. The point with the range of a state has the same name.
    states: ClassVar[tuple[str, ...]] = ("h",)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Weight name -> shape."""
        raise NotImplementedError

    def weights(self, layer: Any) -> list[Any]:
        """The weights of a Keras layer of this kind, as arrays in the order of `shapes`."""
        raise NotImplementedError

    def projected(self) -> tuple[str, ...]:
        """Names of the points of `project`."""
        raise NotImplementedError

    def points(self) -> tuple[str, ...]:
        """Names of the points of `step`, except those with a fixed range."""
        raise NotImplementedError

    def for_output(self) -> frozenset[int]:
        """Indexes of the results of `project` that only the output needs, not a state."""
        return frozenset()

    def project(self, a: Arithmetic, x: Any) -> tuple[Any, ...]:
        """What only the inputs [..., features] determine: tensors [..., units], for any number of time steps."""
        raise NotImplementedError

    def step(self, a: Arithmetic, xs: tuple[Any, ...], states: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One time step: from the results of `project` and the states, [batch, units] each, to output and new states.

        If the results in `for_output` are None, the output is None.
        """
        raise NotImplementedError

    def enter(self, a: Arithmetic, state: str, value: Any) -> Any:
        """A state input, with the same scale as the state output."""
        return a.ranged(state, value)


def affine(a: Arithmetic, point: str, x: Any, kernel: str, bias: str | None) -> Any:
    """The product of `x` and a weight matrix, plus the bias if there is one, as the value of a point."""
    product = tf.matmul(x, a.kernel(kernel))
    return a.ranged(point, product if bias is None else tf.nn.bias_add(product, a.bias(bias)))


def activated(a: Arithmetic, function: str, value: Any, name: str | None = None) -> Any:
    """Apply an activation function. The result of tanh and sigmoid has the scale that the kernel prescribes."""
    match function:
        case "tanh" | "sigmoid":
            return a.fixed(function, getattr(tf, function)(value, name=name))
        case "relu":
            return tf.nn.relu(value, name=name)
        case _:
            return value


def after_name(state: str) -> str:
    """Name of the operator that computes a state of the next time step."""
    return f"after_{state}"
