"""Comparable run times on a machine that also does other work.

Everything to compare runs in one process, in blocks of about a millisecond, in a new random order each round. The
result is the minimum over the rounds. One of the models runs twice, as two models: if these twins disagree, the machine
was too noisy for a comparison.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

BLOCK_S = 1e-3
ROUNDS = 40
ATTEMPTS = 3
MAX_TWIN_DIFFERENCE = 0.05
MIN_JUDGED_S = 20e-6


def interleaved_minima(
    runs: Mapping[object, Callable[[], None]], seed: int, rounds: int = ROUNDS
) -> dict[object, float]:
    """Name -> shortest time of one call over all rounds, in seconds."""
    repeats = {}
    for name, run in runs.items():
        run()  # the first run allocates memory
        repeats[name] = max(1, round(BLOCK_S / max(_time(run, 1), 1e-9)))
    random = np.random.default_rng(seed)
    names = list(runs)
    minima = dict.fromkeys(names, float("inf"))
    for _ in range(rounds):
        for index in random.permutation(len(names)):
            name = names[index]
            minima[name] = min(minima[name], _time(runs[name], repeats[name]))
    return minima


def twins_agree(reference_s: float, twin_s: float) -> bool:
    """Whether two measurements of the same file differ by at most 5%."""
    return abs(twin_s - reference_s) <= MAX_TWIN_DIFFERENCE * min(reference_s, twin_s)


def _time(run: Callable[[], None], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats
