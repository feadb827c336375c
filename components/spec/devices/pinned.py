"""Inputs and outputs whose quantization the firmware of a device fixes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from components.core.values import FrozenModel

# The smallest and the largest normal number.
_FLOAT32 = (2.0**-126, 2.0**127)
_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


class PinnedTensor(FrozenModel):
    """An input or output whose quantization the firmware fixes.

    Attributes:
        name: Its name in the file's signature; None for the only one.
        dtype: Type of its integers.
        scale, zero_point: A real value is scale x (integer - zero_point). The scale of a file can differ by one part in
            10,000.
        max_clipped: Largest share of the calibration sample's values that this range can clip. A conversion that clips
            more fails.
    """

    name: str | None = None
    dtype: Literal["int8", "uint8", "int16"] = "int8"
    scale: Annotated[FiniteFloat, Field(gt=0)]
    zero_point: int
    max_clipped: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.01

    @property
    def bits(self) -> int:
        """Bits of one integer."""
        return 16 if self.dtype == "int16" else 8

    @property
    def real_range(self) -> tuple[float, float]:
        """The real values of the smallest and the largest integer."""
        low, high = _RANGES[self.dtype]
        return self.scale * (low - self.zero_point), self.scale * (high - self.zero_point)

    @model_validator(mode="after")
    def _fits_the_type(self) -> PinnedTensor:
        low, high = _RANGES[self.dtype]
        if not low <= self.zero_point <= high:
            raise ValueError(f"zero_point {self.zero_point} is not an {self.dtype}: it must be in {low}..{high}")
        if not _FLOAT32[0] <= self.scale <= _FLOAT32[1]:
            raise ValueError(f"scale {self.scale:g} is not a normal float32, in which files store scales")
        return self


class Pins(FrozenModel):
    """The pinned inputs and outputs that a conversion produces."""

    inputs: tuple[PinnedTensor, ...] = ()
    outputs: tuple[PinnedTensor, ...] = ()

    def fits(self, activation_bits: int) -> bool:
        """Whether a file with activations of this width can have these pins.

        TensorFlow Lite has no kernel that widens integers.
        """
        return all(pinned.bits >= activation_bits for pinned in self.inputs) and all(
            pinned.bits <= activation_bits for pinned in self.outputs
        )

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs)
