"""Ranges after training: quantizers that watch a float model on the calibration sample, then hold. Imports TensorFlow.

The model is called eagerly while it is watched: what it computes are floats, so that states are those of the float
model's own trajectories.
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
    """Whether quantizers watch; one for all of a model."""

    def __init__(self) -> None:
        self.on = True


class Observer(ActivationQuantizer):
    """Counts the values that it is shown, then holds the range that an estimator takes from them, or of all."""

    def __init__(self, bits: int, symmetric: bool, watch: Watch, extremes: bool = False) -> None:
        super().__init__(bits, symmetric)
        self._watch, self._extremes = watch, extremes
        self.histogram = ActivationHistogram()

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **_: Any) -> Any:  # noqa: ARG002
        """Watch, or quantize."""
        if not self._watch.on:
            return self.quantize(inputs, weights)
        if isinstance(inputs, tf.Tensor) and hasattr(inputs, "numpy"):
            self.observe(inputs.numpy())
        return inputs

    def observe(self, values: Any) -> None:
        """Count values, an array of any shape."""
        self.histogram.add(values)

    def chosen(self, ranges: Ranges) -> tuple[float, float]:
        """The range that its integers are to stand for."""
        return estimate_range(self.histogram, MinMax() if self._extremes else ranges, self.bits)


class WatchedWeights(WeightQuantizer):
    """Leaves weights as they are while the model is watched."""

    def __init__(self, bits: int, axes: tuple[int, ...], watch: Watch) -> None:
        super().__init__(bits, axes)
        self._watch = watch

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **more: Any) -> Any:
        """Watch, or quantize."""
        return inputs if self._watch.on else super().__call__(inputs, training, weights, **more)
