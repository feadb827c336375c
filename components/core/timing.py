"""Comparable run times on a machine that also does other work.

Everything to compare runs in one process, in blocks of about a millisecond, in a new random order each round. Times of
one round are compared with each other, because load that lasts longer than a round slows all of them. One of the models
runs twice, as two models: if these twins disagree, the machine was too noisy for a comparison.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]

BLOCK_S = 1e-3
ROUNDS = 40
ATTEMPTS = 5
MAX_TWIN_DIFFERENCE = 0.05
MIN_JUDGED_S = 20e-6
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, which can be unbounded."""

    estimate: float
    lower: float
    upper: float


def interleaved_minima(
    runs: Mapping[object, Callable[[], None]], seed: int, rounds: int = ROUNDS
) -> dict[object, float]:
    """Name -> shortest time of one call over all rounds, in seconds."""
    return {name: float(times.min()) for name, times in interleaved_times(runs, seed, rounds).items()}


def interleaved_times(
    runs: Mapping[object, Callable[[], None]], seed: int, rounds: int = ROUNDS
) -> dict[object, Times]:
    """Name -> time of one call in each round, in seconds, [rounds]."""
    repeats = {}
    for name, run in runs.items():
        run()  # The first run allocates memory.
        repeats[name] = max(1, round(BLOCK_S / max(_time(run, 1), 1e-9)))
    random = np.random.default_rng(seed)
    names = list(runs)
    times = np.empty((len(names), rounds))
    for number in range(rounds):
        for index in random.permutation(len(names)):
            name = names[index]
            times[index, number] = _time(runs[name], repeats[name])
    return dict(zip(names, times, strict=True))


def median_interval(values: Times, confidence: float = CONFIDENCE) -> Interval:
    """The median of independent values, with an interval from their order. It assumes nothing about how they vary.

    The median lies between the k-th smallest and the k-th largest value unless fewer than k of them fall on one of its
    sides, whose probability is binomial (Conover 1999, Practical Nonparametric Statistics, section 3.2).
    """
    ordered, number = np.sort(values), len(values)
    outside, rank = 2 * 0.5**number, 0
    while outside <= 1 - confidence and rank < number // 2:
        rank += 1
        outside += 2 * math.comb(number, rank) * 0.5**number
    ends = (float(ordered[rank - 1]), float(ordered[-rank])) if rank else (-math.inf, math.inf)
    return Interval(float(np.median(ordered)), *ends)


def twin_interval(reference: Times, twin: Times) -> Interval:
    """The ratio of two measurements of the same file. The interval allows for several attempts, one of which counts."""
    return _exponential(median_interval(np.log(twin / reference), 1 - (1 - CONFIDENCE) / ATTEMPTS))


def shows_agreement(twins: Interval) -> bool:
    """Whether the machine is quiet enough: the complete interval of the twins' ratio is within 5 % of equality."""
    limit = math.log1p(MAX_TWIN_DIFFERENCE)
    return -limit <= _log(twins.lower) and _log(twins.upper) <= limit


def ratio_to_twins(times: Times, reference: Times, twin: Times) -> Interval:
    """A time as a ratio to the time of a file that was measured twice in the same rounds.

    The interval covers the noise of the rounds. It is 5 % wider on both sides, because twins that agree can be that far
    apart: where a file lies in memory makes it slower or faster in all rounds.
    """
    found = median_interval(np.log(times) - (np.log(reference) + np.log(twin)) / 2)
    apart = math.log1p(MAX_TWIN_DIFFERENCE)
    return _exponential(Interval(found.estimate, found.lower - apart, found.upper + apart))


def _exponential(logarithms: Interval) -> Interval:
    ends = (math.exp(end) if end < math.inf else math.inf for end in (logarithms.lower, logarithms.upper))
    return Interval(math.exp(logarithms.estimate), *ends)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def twins_agree(reference_s: float, twin_s: float) -> bool:
    """Whether two measurements of the same file differ by at most 5%."""
    return abs(twin_s - reference_s) <= MAX_TWIN_DIFFERENCE * min(reference_s, twin_s)


def _time(run: Callable[[], None], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats
