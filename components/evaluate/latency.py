"""Host latency as a ratio to the float TFLite model, by the protocol of `components.core.timing`.

The float model runs twice: where these twins disagree, the run is repeated.
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
    reference: bytes,
    candidates: Mapping[str, bytes],
    example: Mapping[str, npt.NDArray[np.generic]],
    seed: int = 0,
) -> dict[str, Latency]:
    """Time TFLite files against the float one, on one thread, by one invocation on one example.

    Args:
        reference: The float32 TFLite file.
        candidates: Name -> TFLite file.
        example: Input name -> array [1, ...]: real data, since some kernels' time depends on it.
        seed: Of the order within the rounds.

    Returns:
        Name -> latency; without ratio when no run out of three had agreeing twins.
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
    """Times of one run, in seconds, to latencies with a ratio where one can be given."""
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
                note = f"{what} takes {value * 1e6:.1f} us: under {MIN_JUDGED_S * 1e6:.0f} us nothing is judged"
                return Latency(microseconds=microseconds, ratio=None, note=note)
        return Latency(microseconds=microseconds, ratio=seconds / best)

    return {name: latency(seconds) for name, seconds in candidates_s.items()}


def kernel_note(scheme: Scheme, outcome: ConversionOutcome) -> str:
    """What to bear in mind where the host runs reference kernels; empty if there is nothing."""
    recurrent = isinstance(outcome, Converted) and any(
        operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" for operator in outcome.inspection.operators
    )
    if scheme.activation_bits == 16 or (scheme.is_static and recurrent):
        what = "16-bit activations" if scheme.activation_bits == 16 else "the integer LSTM"
        lacks = f"this machine has only reference kernels for {what}"
        return f"{lacks}: it says nothing about the device, whose own tools do (`evaluators` of its profile)"
    return ""
