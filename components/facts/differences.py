"""How much the outputs of two runtimes for a file differ."""

from __future__ import annotations

from components.core.values import FrozenModel


class OutputDifference(FrozenModel):
    """One output of a candidate under a runtime, compared with the same output under another runtime.

    Attributes:
        output: Name of the output.
        lsb: Real value of one least significant bit: the tensor's scale, or 1 for integers without one. For a float
            output, 1/255 of the range of the desktop runtime's values over the examples, the resolution of 8 bits.
        max_lsb: Largest difference of one value, in least significant bits.
        differing: Fraction of values that differ at all.
        mean_lsb: Mean absolute difference, in least significant bits.
        gross_lsb: Largest `mean_lsb` that still counts as rounding.
    """

    output: str
    lsb: float
    max_lsb: float
    differing: float
    mean_lsb: float = 0.0
    gross_lsb: float = 0.0

    @property
    def gross(self) -> bool:
        """Whether the difference is greater than rounding can explain. NaN counts as gross."""
        return not self.mean_lsb <= self.gross_lsb
