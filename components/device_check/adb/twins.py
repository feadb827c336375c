"""Decides by twins whether times on a phone can be used: two processes run the same file one after the other.

They agree if the complete interval of their ratio is within 5 % of equality, as on the host (`components.core.timing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from components.core.timing import ATTEMPTS, CONFIDENCE, MAX_TWIN_DIFFERENCE, Interval, shows_agreement
from components.device_check.adb.output import Benchmark


@dataclass(frozen=True)
class Twins:
    """Two runs of one file.

    Attributes:
        first, second: The runs.
        attempts: Number of pairs that were run. These runs are the last pair.
    """

    first: Benchmark
    second: Benchmark
    attempts: int

    @property
    def ratio(self) -> Interval:
        """The ratio of their means. The interval allows for several attempts, one of which counts (delta method)."""
        pair = (self.first, self.second)
        error = math.hypot(*(each.deviation_us / each.average_us / math.sqrt(each.runs) for each in pair))
        half = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / ATTEMPTS / 2) * error
        found = self.second.average_us / self.first.average_us
        return Interval(found, found * math.exp(-half), found * math.exp(half))

    @property
    def disagreement(self) -> str:
        """Why the time can't be used; empty if the twins agree."""
        found = self.ratio
        if shows_agreement(found):
            return ""
        return (
            f"two runs of the same file differed by a factor of {found.lower:.2f} to {found.upper:.2f} in attempt "
            f"{self.attempts}; the time is judged only if they agree within {MAX_TWIN_DIFFERENCE:.0%}"
        )

    @property
    def joined(self) -> Benchmark:
        """The number of inferences in both runs."""
        one, other = self.first, self.second
        runs = one.runs + other.runs
        mean = (one.runs * one.average_us + other.runs * other.average_us) / runs
        squares = sum(each.runs * (each.deviation_us**2 + (each.average_us - mean) ** 2) for each in (one, other))
        known = [each.memory_bytes for each in (one, other) if each.memory_bytes is not None]
        return Benchmark(
            runs=runs,
            average_us=mean,
            deviation_us=math.sqrt(squares / runs),
            least_us=min(one.least_us, other.least_us),
            init_us=max(one.init_us, other.init_us),
            memory_bytes=max(known, default=None),
        )


def agreeing(run: Callable[[], Benchmark], seconds_left: Callable[[], float]) -> Twins:
    """Run twins until they agree, up to five times, as long as there is time for another pair.

    Args:
        run: Runs the file once.
        seconds_left: Returns the remaining time, in seconds.
    """
    for attempt in range(1, ATTEMPTS + 1):
        before = seconds_left()
        found = Twins(run(), run(), attempt)
        left = seconds_left()
        if not found.disagreement or 2 * (before - left) > left:
            break
    return found
