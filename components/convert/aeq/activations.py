"""Histograms and ranges of the activations of a float TFLite file on the calibration sample. Imports TensorFlow."""

from __future__ import annotations

import logging
from typing import Any

import numpy.typing as npt

from components.convert.aeq.layers import Graph
from components.convert.representative import Sample
from components.core.errors import ModelError
from components.facts.conversion import ActivationRange
from components.model.tflite_runtime import TFLiteModel
from components.ranges.histogram import ActivationHistogram
from components.ranges.range_estimators import estimate_range
from components.spec.ranges import MinMax, Ranges
from components.upstream.tflite.interpreter import interpreter as new_interpreter

_LOG = logging.getLogger(__name__)

_PICTURE_BINS = 64
# About 1.3 times 6 / 2**31.
_FINEST_STEP = 2.0**-28


def histograms_of(content: bytes, graph: Graph, sample: Sample) -> dict[str, ActivationHistogram]:
    """Run a float file on each example with its states reset, and count the values of its activations in histograms.

    Returns:
        Tensor name -> histogram, in the order of execution.

    Raises:
        ModelError: The runtime fails.
    """
    interpreter = new_interpreter(content, keeps_all_tensors=True)
    histograms = {name: ActivationHistogram() for name in graph.activations}
    try:
        interpreter.allocate_tensors()
        inputs = interpreter.get_signature_runner().get_input_details()
        for position in range(len(next(iter(sample.inputs.values())))):
            interpreter.reset_all_variables()
            for name, detail in inputs.items():
                value = sample.inputs[name][position : position + 1]
                interpreter.set_tensor(detail["index"], value.astype(detail["dtype"], copy=False))
            interpreter.invoke()
            for name, index in graph.activations.items():
                histograms[name].add(interpreter.get_tensor(index))
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"the float model cannot be run on the calibration sample: {str(error).strip()}",
            where="calibrate",
            remedy="run the recipe float32 alone, and fix what it reports",
        ) from error
    _LOG.info("counted the values of %d activations", len(histograms))
    return histograms


def choose_ranges(
    histograms: dict[str, ActivationHistogram], ranges: Ranges, bits: int, graph: Graph
) -> dict[str, tuple[float, float]]:
    """Choose the quantization range of each tensor. Returns tensor name -> range.

    The model's outputs keep their smallest and largest value, because clipping an output is always an error.
    """
    ends = graph.ends()
    chosen = {
        name: estimate_range(histogram, MinMax() if name in ends else ranges, bits)
        for name, histogram in histograms.items()
    }
    return {
        name: chosen[name] if name in graph.inputs else _taken_by_kernels(*chosen[name], bits) for name in histograms
    }


def _taken_by_kernels(low: float, high: float, bits: int) -> tuple[float, float]:
    """Widen a range if necessary: kernels reject a scale so small that 6 / scale, for RELU6, does not fit int32."""
    if low == high:
        # All values are zero, so any scale works. A coarse one leaves room for the bias of the next layer.
        return (0.0, 1.0) if bits == 8 else (-1.0, 1.0)
    missing = _FINEST_STEP * 2**bits - (high - low)
    return (low - missing / 2, high + missing / 2) if missing > 0 else (low, high)


def range_facts(
    histograms: dict[str, ActivationHistogram], chosen: dict[str, tuple[float, float]], graph: Graph, bits: int
) -> tuple[ActivationRange, ...]:
    """The ranges for the report, most clipped first. The first one has a histogram."""
    facts = [
        ActivationRange(tensor=name, observed=estimate_range(histograms[name], MinMax(), bits), chosen=chosen[name])
        for name in graph.ranged()
        if histograms[name].total
    ]
    facts.sort(key=lambda fact: (-fact.clipped, fact.tensor))
    if facts:
        most = histograms[facts[0].tensor]
        facts[0] = facts[0].model_copy(
            update={"histogram": most.coarse(_PICTURE_BINS), "histogram_bounds": (most.minimum, most.maximum)}
        )
    return tuple(facts)


def outputs_of(content: bytes, sample: Sample) -> dict[str, npt.NDArray[Any]]:
    """The dequantized outputs of a file for all examples of a sample, by name."""
    return TFLiteModel(content).predict(sample.inputs)
