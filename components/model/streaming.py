"""A streaming model, which processes one time step per call: the names of its state tensors, and its reference loop.

The contract is in the file itself: an input `state_X` and an output `next_X` of the same shape, type, scale, and zero
point. Before a sequence, each state is zero, which for integers is the zero point. After each time step, copy the bytes
of `next_X` to `state_X` unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Name that the lowering gives to the operator that computes a state: `<layer>/step_<index>/after_<state>`.
STATE_TENSOR = re.compile(r"([^;]*?)/step_(\d+)/after_(\w+?)(?:_\d+)?(?:[;/]|$)")
_STATE, _NEXT = "state_", "next_"


def state_name(layer: str, state: str) -> str:
    """Name of the input that takes a state of a layer."""
    return f"{_STATE}{_plain(layer)}_{state}"


def next_name(layer: str, state: str) -> str:
    """Name of the output that returns the next state."""
    return f"{_NEXT}{_plain(layer)}_{state}"


def _plain(layer: str) -> str:
    return re.sub(r"\W", "_", layer)


def state_pairs(inputs: Iterable[str], outputs: Iterable[str]) -> dict[str, str]:
    """Input -> output of each state; empty if the model is not a streaming model."""
    pairs = {name: _NEXT + name.removeprefix(_STATE) for name in inputs if name.startswith(_STATE)}
    return pairs if pairs and set(pairs.values()) <= set(outputs) else {}


def drive(
    step: Callable[[Mapping[str, Array]], Mapping[str, Array]],
    frames: Mapping[str, Array],
    states: Mapping[str, Array],
    pairs: Mapping[str, str],
) -> list[Mapping[str, Array]]:
    """The reference loop: run a sequence through a streaming model, in the file's own dtypes.

    Args:
        step: Runs the file once. Maps input name -> array [batch, ...] to output name -> array [batch, ...].
        frames: Input name -> array [batch, time, ...].
        states: State input -> its initial value, [batch, ...].
        pairs: State input -> state output.

    Returns:
        The outputs of each time step.
    """
    returned = []
    for index in range(next(iter(frames.values())).shape[1]):
        now = step({**{name: values[:, index] for name, values in frames.items()}, **states})
        states = {taken: now[given] for taken, given in pairs.items()}
        returned.append(now)
    return returned


def zero_state(batch: int, shape: Iterable[int], dtype: npt.DTypeLike, zero_point: int) -> Array:
    """The state before a sequence, [batch, ...]."""
    return np.full([batch, *shape], zero_point, dtype)
