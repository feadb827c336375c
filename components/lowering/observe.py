"""Quantizers that observe a float model on the calibration sample, then fix their ranges. Imports TensorFlow.

While quantizers observe, the model runs eagerly and in floats, so the states follow the float model's own trajectories.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from components.cells.quantizers import ActivationQuantizer
from components.cells.weight_quantizer import WeightQuantizer
from components.ranges.histogram import ActivationHistogram
from components.ranges.range_estimators import estimate_range
from components.spec.ranges import MinMax, Ranges


class Watch:
    """A switch, shared by all quantizers of a model, between observing and quantizing."""

    def __init__(self) -> None:
        self.on = True


class Observer(ActivationQuantizer):
    """Counts observed values, then quantizes with an estimated range, or with the full range for `extremes`."""

    def __init__(self, bits: int, symmetric: bool, watch: Watch, extremes: bool = False) -> None:
        super().__init__(bits, symmetric)
        self._watch, self._extremes = watch, extremes
        self.histogram = ActivationHistogram()

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **_: Any) -> Any:  # noqa: ARG002
        """Observe, or quantize."""
        if not self._watch.on:
            return self.quantize(inputs, weights)
        if isinstance(inputs, tf.Tensor) and hasattr(inputs, "numpy"):
            self.observe(inputs.numpy())
        return inputs

    def observe(self, values: Any) -> None:
        """Count the values of an array of any shape."""
        self.histogram.add(values)

    def chosen(self, ranges: Ranges) -> tuple[float, float]:
        """The range that the integers represent."""
        return estimate_range(self.histogram, MinMax() if self._extremes else ranges, self.bits)


class WatchedWeights(WeightQuantizer):
    """Leaves weights unchanged while the model is observed."""

    def __init__(self, bits: int, axes: tuple[int, ...], watch: Watch) -> None:
        super().__init__(bits, axes)
        self._watch = watch

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **more: Any) -> Any:
        """Return the weights unchanged, or quantize."""
        return inputs if self._watch.on else super().__call__(inputs, training, weights, **more)
