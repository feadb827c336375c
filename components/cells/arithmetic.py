"""What cells of recurrent layers compute with, and the base of all cells. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import tensorflow as tf

# Functions that TFLite has a kernel for; the kernel prescribes the scale of the first two's results.
FIXED = frozenset({"tanh", "sigmoid"})


ACTIVATIONS = FIXED | {"relu", "linear"}


Weights = dict[str, Any]


class Arithmetic(Protocol):
    """What a cell computes with."""

    def kernel(self, name: str) -> Any:
        """A matrix of weights, each with a scale of its own."""

    def vector(self, name: str) -> Any:
        """Weights that are multiplied element by element."""

    def bias(self, name: str) -> Any:
        """A bias: integers in the scale of the product that it is added to."""

    def ranged(self, point: str, value: Any) -> Any:
        """A value whose range is measured."""

    def fixed(self, function: str, value: Any) -> Any:
        """The result of `tanh` or `sigmoid`, whose scale the kernel prescribes."""


@dataclass(frozen=True)
class Cell:
    """A kind of cell, and its sizes.

    Attributes:
        units: Size of the output.
        features: Size of the input.
        activation: Of the candidate.
        biased: Whether it has biases.
    """

    units: int
    features: int
    activation: str = "tanh"
    biased: bool = True

    kind: ClassVar[str]
    # Names of the states; each is also the name of the point with its range.
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
        """Names of the points of `step`, without those whose range is fixed."""
        raise NotImplementedError

    def for_output(self) -> frozenset[int]:
        """Which of `project`'s results only the output needs, and no state."""
        return frozenset()

    def project(self, a: Arithmetic, x: Any) -> tuple[Any, ...]:
        """What depends on the inputs [..., features] alone: tensors [..., units], for any number of time steps."""
        raise NotImplementedError

    def step(self, a: Arithmetic, xs: tuple[Any, ...], states: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One time step: from `project`'s results and the states, [batch, units] each, to the output and new states.

        Where the results in `for_output` are None, so is the output.
        """
        raise NotImplementedError

    def enter(self, a: Arithmetic, state: str, value: Any) -> Any:
        """A state that comes from outside, in the very scale that it goes out with."""
        return a.ranged(state, value)


def affine(a: Arithmetic, point: str, x: Any, kernel: str, bias: str | None) -> Any:
    """A product with a kernel, plus a bias if there is one, as the value of a point."""
    product = tf.matmul(x, a.kernel(kernel))
    return a.ranged(point, product if bias is None else tf.nn.bias_add(product, a.bias(bias)))


def activated(a: Arithmetic, function: str, value: Any, name: str | None = None) -> Any:
    """An activation function of a value; its result has the scale that the kernel of the function prescribes."""
    match function:
        case "tanh" | "sigmoid":
            return a.fixed(function, getattr(tf, function)(value, name=name))
        case "relu":
            return tf.nn.relu(value, name=name)
        case _:
            return value


def after_name(state: str) -> str:
    """What the operator is called that computes a state of the next time step."""
    return f"after_{state}"
