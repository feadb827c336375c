"""Host latency as a ratio to the float TFLite model, on a machine that does other things too.

All models run in one process, in blocks of about a millisecond, in a new random order each round; what counts is the
minimum over the rounds. The float model runs twice, as two models: where these twins disagree, the machine was too
noisy for anything to be said, and the run is repeated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from components.interpreter import TFLiteModel
from components.quantize.scheme import Scheme, StaticWi8Ai8, StaticWi8Ai16
from components.report import ConversionOutcome, Converted, Latency

logger = logging.getLogger(__name__)

BLOCK_S = 1e-3
ROUNDS = 40
ATTEMPTS = 3
MAX_TWIN_DIFFERENCE = 0.05
MIN_JUDGED_S = 20e-6

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


def interleaved_minima(
    runs: Mapping[object, Callable[[], None]], seed: int, rounds: int = ROUNDS
) -> dict[object, float]:
    """Name -> least time of one call over all rounds, in seconds."""
    repeats = {}
    for name, run in runs.items():
        run()  # the first one allocates
        repeats[name] = max(1, round(BLOCK_S / max(_time(run, 1), 1e-9)))
    random = np.random.default_rng(seed)
    names = list(runs)
    minima = dict.fromkeys(names, float("inf"))
    for _ in range(rounds):
        for index in random.permutation(len(names)):
            name = names[index]
            minima[name] = min(minima[name], _time(runs[name], repeats[name]))
    return minima


def _time(run: Callable[[], None], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def twins_agree(reference_s: float, twin_s: float) -> bool:
    """Whether the two measurements of the same float file differ by at most 5 %."""
    return abs(twin_s - reference_s) <= MAX_TWIN_DIFFERENCE * min(reference_s, twin_s)


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
    if isinstance(scheme, StaticWi8Ai16) or (isinstance(scheme, StaticWi8Ai8) and recurrent):
        what = "16-bit activations" if isinstance(scheme, StaticWi8Ai16) else "the integer LSTM"
        lacks = f"this machine has only reference kernels for {what}"
        return f"{lacks}: it says nothing about the device, whose own tools do (`evaluators` of its profile)"
    return ""
