"""Signal and error of a tensor, summed over examples. Needs no TensorFlow.

All errors are energies relative to the signal, sum((q - f)**2) / sum(f**2): the inverse of the signal-to-quantization-
noise ratio, as in Nagel et al. 2021, arXiv:2106.08295.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Bounds the error of a value that is not finite, and the error of a tensor without a signal.
LARGEST = 1e12


class TensorErrors:
    """Sums over examples for one tensor.

    Args:
        limits: Smallest and largest real value that the candidate's integers represent; None if they are floats.
        step: Real value of one integer step; 0 for floats.
        parts: Sizes, along `axis`, of the parts that the tensor is concatenated from; empty for any other tensor.
        axis: Axis of the parts.

    Attributes:
        limits, step: See the arguments.
        low, high: Smallest and largest float value of each channel [C]. Channels are along the last axis.
        values: Number of values.
        beyond: Number of values beyond the limits by more than half a step.
    """

    def __init__(
        self, limits: tuple[float, float] | None, step: float, parts: Sequence[int] = (), axis: int = -1
    ) -> None:
        self.limits, self.step, self._parts, self._axis = limits, step, parts, axis
        self.low = self.high = np.empty(0)
        self.values = self.beyond = 0
        self._sums = self._squares = np.zeros(1)
        # For each channel: the errors that the operator, its weights, and its integers add.
        self._noise = np.zeros((3, 1))
        self._total = self._clipped = 0.0
        self._of_parts = np.zeros((2, max(1, len(parts))))

    def add(self, wanted: Floats, found: Floats, alone: Floats, alone_weights: Floats) -> None:
        """Add one example.

        Args:
            wanted: The values of the float model.
            found: The candidate's values, in real numbers.
            alone: The float operator's values for the candidate's inputs.
            alone_weights: The float operator's values for them with the candidate's weights.
        """
        own, activations = _square(found - alone), _square(found - alone_weights)
        weights = _square(alone_weights - alone)
        self._total += float(_square(found - wanted).sum())
        if self.limits is not None:
            low, high = self.limits
            beyond = (alone_weights < low - self.step / 2) | (alone_weights > high + self.step / 2)
            self.beyond += int(beyond.sum())
            self._clipped += float(activations[beyond].sum())
        flat = wanted.reshape(-1, wanted.shape[-1] if wanted.ndim > 1 else 1)
        if not self.low.size:
            channels = flat.shape[1]
            self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
            self._sums, self._squares, self._noise = np.zeros(channels), np.zeros(channels), np.zeros((3, channels))
        self.low, self.high = np.minimum(self.low, flat.min(axis=0)), np.maximum(self.high, flat.max(axis=0))
        self.values += wanted.size
        self._sums = self._sums + flat.sum(axis=0)
        self._squares = self._squares + np.square(flat).sum(axis=0)
        self._noise += [each.reshape(flat.shape).sum(axis=0) for each in (own, weights, activations)]
        if self._parts:
            ends = np.cumsum(self._parts)[:-1]
            for place, part in enumerate(np.split(own, ends, axis=self._axis)):
                self._of_parts[1, place] += float(part.sum())
            for place, part in enumerate(np.split(wanted, ends, axis=self._axis)):
                self._of_parts[0, place] += float(np.square(part).sum())

    @property
    def signal(self) -> float:
        """Energy of the float model's values."""
        return float(self._squares.sum())

    @property
    def total(self) -> float:
        """Error of the candidate's values, including the errors of all preceding operators."""
        return relative(self._total, self.signal)

    @property
    def own(self) -> float:
        """Error that the operator itself adds."""
        return relative(float(self._noise[0].sum()), self.signal)

    @property
    def weights(self) -> float:
        """Error that its weights and biases add."""
        return relative(float(self._noise[1].sum()), self.signal)

    @property
    def activations(self) -> float:
        """Error that the integers of its output, and its integer arithmetic, add."""
        return relative(float(self._noise[2].sum()), self.signal)

    @property
    def clipped(self) -> float:
        """Fraction of the activations' error that is in values beyond the limits."""
        noise = float(self._noise[2].sum())
        return self._clipped / noise if noise > 0 else 0.0

    @property
    def of_parts(self) -> tuple[float, ...]:
        """The operator's own error in each part of a concatenation, relative to the part's signal."""
        return tuple(relative(noise, signal) for signal, noise in self._of_parts.T) if self._parts else ()

    @property
    def medians(self) -> tuple[float, float, float]:
        """Medians over channels of the own, weight, and activation errors, relative to the variance.

        Channels that don't vary don't count. All are 0 if none varies.
        """
        count = self.values / max(1, self._sums.size)
        varying = self._squares - np.square(self._sums) / max(1.0, count)
        # Compared with the channel itself, because another one that dominates the range can be arbitrarily larger.
        live = varying > np.maximum(1e-9 * self._squares, np.finfo(np.float64).tiny)
        if not live.any():
            return 0.0, 0.0, 0.0
        own, weights, activations = np.minimum(np.median(self._noise[:, live] / varying[live], axis=1), LARGEST)
        return float(own), float(weights), float(activations)

    @property
    def crest(self) -> float:
        """Largest magnitude divided by the root mean square."""
        rms = math.sqrt(self.signal / max(1, self.values))
        return float(max(np.abs(self.low).max(), np.abs(self.high).max()) / rms) if rms > 0 else 0.0


def _square(values: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.nan_to_num(np.square(values), nan=LARGEST, posinf=LARGEST)


def relative(noise: float, signal: float) -> float:
    """Energy of an error relative to a signal, at most `LARGEST`; 0 without an error."""
    if noise <= 0:
        return 0.0
    return min(noise / signal, LARGEST) if signal > 0 else LARGEST
