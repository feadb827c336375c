"""How a streaming file, a model of one time step, is driven."""

from __future__ import annotations

from components.core.values import FrozenModel


class StateTensor(FrozenModel):
    """One state of a streaming file.

    Attributes:
        input, output: Names in the file's signature.
        shape: With the batch of 1.
        dtype: `int8`, `int16` or `float32`.
        scale, zero_point: Of both, exactly; a scale of 0 for floats.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


class StreamingContract(FrozenModel):
    """How a streaming file is driven.

    Attributes:
        frames: Inputs that take one time step each.
        states: Zero before a sequence (integers: their zero point); output copied to input after each frame.
        outputs: What it returns beside the states, after each frame.
    """

    frames: tuple[str, ...]
    states: tuple[StateTensor, ...]
    outputs: tuple[str, ...]
