"""How to run a streaming file, which is a model of one time step."""

from __future__ import annotations

from components.core.values import FrozenModel


class StateTensor(FrozenModel):
    """One state of a streaming file.

    Attributes:
        input, output: Names in the file's signature.
        shape: Shape with a batch size of 1.
        dtype: `int8`, `int16`, or `float32`.
        scale, zero_point: Exact quantization of both tensors. The scale is 0 for floats.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


class StreamingContract(FrozenModel):
    """How to run a streaming file.

    Attributes:
        frames: Inputs that take one time step each.
        states: States. Set each input to zero (integers: to the zero point) before a sequence, and copy the output to
            the input after each frame.
        outputs: Outputs other than the states, valid after each frame.
    """

    frames: tuple[str, ...]
    states: tuple[StateTensor, ...]
    outputs: tuple[str, ...]
