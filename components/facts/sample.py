"""The contribution of each independent unit of a slice to a metric, for tests that are valid for any sample size."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import numpy.typing as npt

from components.core.values import FrozenModel

Array = npt.NDArray[np.float64]
_STORED = np.dtype("<f4")


class Sample(FrozenModel):
    """A metric that is a ratio of two sums over units: examples, or groups of examples.

    Attributes:
        numerators, denominators: The contributions of each unit to the two sums, packed. The units of all models of an
            evaluation are the same, in the same order.
        least, greatest: Limits of a unit's numerator, per denominator.
        largest: The largest denominator of a unit. Several if there are kinds of units with different ones, such as the
            positive and the negative examples of an area under a curve.
        outside: How many units have a numerator outside these limits.
    """

    numerators: str
    denominators: str
    least: float
    greatest: float
    largest: tuple[float, ...]
    outside: int = 0

    @property
    def terms(self) -> tuple[Array, Array]:
        """Numerators and denominators, [U]."""
        return unpacked(self.numerators), unpacked(self.denominators)


def packed(values: Array) -> str:
    """Numbers as compressed text, in single precision."""
    return base64.b85encode(zlib.compress(values.astype(_STORED).tobytes(), 6)).decode()


def unpacked(text: str) -> Array:
    """The numbers of `packed`."""
    return np.frombuffer(zlib.decompress(base64.b85decode(text)), _STORED).astype(np.float64)
