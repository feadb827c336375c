"""Measures host latency as a ratio to the float TFLite model, with the protocol of `components.core.timing`.

The float model is timed twice, as a pair of twins. The measurement is repeated until the twins agree; if they never do,
there is no ratio.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from components.core.timing import (
    ATTEMPTS,
    MIN_JUDGED_S,
    Times,
    interleaved_times,
    ratio_to_twins,
    shows_agreement,
    twin_interval,
)
from components.facts.conversion import ConversionOutcome, Converted
from components.facts.evaluation import Latency
from components.model.tflite_runtime import TFLiteModel
from components.spec.scheme import Scheme

logger = logging.getLogger(__name__)

_REFERENCE, _TWIN = ("reference",), ("twin",)


def measure_latency(
    reference: bytes, candidates: Mapping[str, bytes], example: Mapping[str, npt.NDArray[np.generic]], seed: int = 0
) -> dict[str, Latency]:
    """Time TFLite files relative to the float file: one invocation on one example, on one thread.

    Args:
        reference: The float32 TFLite file.
        candidates: Name -> TFLite file.
        example: Input name -> array [1, ...] of real data, because the time of some kernels depends on it.
        seed: Seed of the order within the rounds.

    Returns:
        Name -> latency, without a ratio if the twins disagreed in all attempts.
    """
    models: dict[object, TFLiteModel] = {_REFERENCE: TFLiteModel(reference), _TWIN: TFLiteModel(reference)}
    models |= {name: TFLiteModel(content) for name, content in candidates.items()}
    for model in models.values():
        model.load_example(example)
    runs = {name: model.invoke_once for name, model in models.items()}
    latencies: dict[str, Latency] = {}
    for attempt in range(ATTEMPTS):
        times = interleaved_times(runs, seed + attempt)
        reference_s, twin_s = times.pop(_REFERENCE), times.pop(_TWIN)
        latencies = judge(reference_s, twin_s, {str(name): value for name, value in times.items()})
        twins = twin_interval(reference_s, twin_s)
        logger.info("Latency, attempt %d: twins' ratio %.3f to %.3f", attempt + 1, twins.lower, twins.upper)
        if shows_agreement(twins):
            break
    return latencies


def judge(reference_s: Times, twin_s: Times, candidates_s: Mapping[str, Times]) -> dict[str, Latency]:
    """Convert the times of one attempt to latencies, with a ratio if the times support one.

    Args:
        reference_s, twin_s: Seconds of the float file in each round, [rounds], measured twice.
        candidates_s: Name -> seconds of a candidate in the same rounds, [rounds].
    """
    twins = twin_interval(reference_s, twin_s)
    best = float(min(reference_s.min(), twin_s.min()))

    def latency(seconds: Times) -> Latency:
        microseconds = float(seconds.min()) * 1e6
        if not shows_agreement(twins):
            return Latency(
                microseconds=microseconds,
                ratio=None,
                note="the machine was too noisy: two measurements of the float model differed by a factor of "
                f"{twins.lower:.2f} to {twins.upper:.2f}",
                transient=True,
            )
        for what, value in (("the float model", best), ("it", float(seconds.min()))):
            if value < MIN_JUDGED_S:
                note = f"{what} takes {value * 1e6:.1f} us; times below {MIN_JUDGED_S * 1e6:.0f} us are not judged"
                return Latency(microseconds=microseconds, ratio=None, note=note)
        found = ratio_to_twins(seconds, reference_s, twin_s)
        return Latency(microseconds=microseconds, ratio=found.estimate, lower=found.lower, upper=found.upper)

    return {name: latency(seconds) for name, seconds in candidates_s.items()}


def kernel_note(scheme: Scheme, outcome: ConversionOutcome) -> str:
    """Return a note about latency if the host runs reference kernels; empty otherwise."""
    recurrent = isinstance(outcome, Converted) and any(
        operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" for operator in outcome.inspection.operators
    )
    if scheme.activation_bits == 16 or (scheme.is_static and recurrent):
        what = "16-bit activations" if scheme.activation_bits == 16 else "the integer LSTM"
        lacks = f"this machine only has reference kernels for {what}"
        return f"{lacks}, so this is not the device's time, which only `evaluators` in a device profile estimate"
    return ""
