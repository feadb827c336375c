"""Measures host latency as a ratio to the float TFLite model, with the protocol of `components.core.timing`.

The float model is timed twice, as two twins. If the twins disagree, the measurement is repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from components.core.timing import ATTEMPTS, MIN_JUDGED_S, interleaved_minima, twins_agree
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
        Name -> latency, without a ratio if the twins disagreed in all three runs.
    """
    models: dict[object, TFLiteModel] = {_REFERENCE: TFLiteModel(reference), _TWIN: TFLiteModel(reference)}
    models |= {name: TFLiteModel(content) for name, content in candidates.items()}
    for model in models.values():
        model.load_example(example)
    latencies: dict[str, Latency] = {}
    for attempt in range(ATTEMPTS):
        minima = interleaved_minima({name: model.invoke_once for name, model in models.items()}, seed + attempt)
        reference_s, twin_s = minima.pop(_REFERENCE), minima.pop(_TWIN)
        latencies = judge(reference_s, twin_s, {str(name): value for name, value in minima.items()})
        logger.info("Latency, run %d: float %.1f us, its twin %.1f us", attempt + 1, reference_s * 1e6, twin_s * 1e6)
        if twins_agree(reference_s, twin_s):
            break
    return latencies


def judge(reference_s: float, twin_s: float, candidates_s: Mapping[str, float]) -> dict[str, Latency]:
    """Convert the times of one run, in seconds, to latencies, with a ratio if the times support one."""
    best = min(reference_s, twin_s)

    def latency(seconds: float) -> Latency:
        microseconds = seconds * 1e6
        if not twins_agree(reference_s, twin_s):
            return Latency(
                microseconds=microseconds,
                ratio=None,
                note=f"the machine was too noisy: the float model took {reference_s * 1e6:.1f} and "
                f"{twin_s * 1e6:.1f} us in one run",
                transient=True,
            )
        for what, value in (("the float model", best), ("it", seconds)):
            if value < MIN_JUDGED_S:
                note = f"{what} takes {value * 1e6:.1f} us; times below {MIN_JUDGED_S * 1e6:.0f} us are not judged"
                return Latency(microseconds=microseconds, ratio=None, note=note)
        return Latency(microseconds=microseconds, ratio=seconds / best)

    return {name: latency(seconds) for name, seconds in candidates_s.items()}


def kernel_note(scheme: Scheme, outcome: ConversionOutcome) -> str:
    """Return a note about latency if the host runs reference kernels; empty otherwise."""
    recurrent = isinstance(outcome, Converted) and any(
        operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" for operator in outcome.inspection.operators
    )
    if scheme.activation_bits == 16 or (scheme.is_static and recurrent):
        what = "16-bit activations" if scheme.activation_bits == 16 else "the integer LSTM"
        lacks = f"this machine has only reference kernels for {what}"
        return f"{lacks}, so this is not the device's time, which only `evaluators` in a device profile estimate"
    return ""
