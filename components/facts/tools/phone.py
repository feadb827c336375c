"""Facts about a candidate on a connected phone, measured by TensorFlow Lite's benchmark binary."""

from __future__ import annotations

import math
from typing import Literal

from components.core.values import FrozenModel


class AdbFacts(FrozenModel):
    """Results of `benchmark_model` on a phone.

    Attributes:
        model, android, abi: The phone: its model, its version of Android, and the ABI of the binary.
        delegate, threads: The delegate and the number of threads that ran the operators.
        file_bytes: Size of the file that was copied to the phone.
        benchmark_sha256: Digest of the binary.
        runs: Number of inferences after the warm-up, in both twins: two processes that run the same file.
        latency_us, deviation_us, least_us: Mean, standard deviation, and minimum of their times, in microseconds.
        twins_us: Mean time under each twin, in microseconds.
        attempts: Number of pairs of twins. The last one is used.
        disagreement: Why the measured time can't be used; empty if the twins agree.
        init_us: Time to load the model, in microseconds.
        memory_bytes: How much the process grew by loading and running the model; None if the phone doesn't report it.
    """

    status: Literal["measured"] = "measured"
    model: str
    android: str
    abi: str
    delegate: str
    threads: int
    file_bytes: int
    benchmark_sha256: str
    runs: int
    latency_us: float
    deviation_us: float
    least_us: float
    twins_us: tuple[float, float]
    attempts: int = 1
    disagreement: str = ""
    init_us: float
    memory_bytes: int | None = None

    @property
    def latency_interval_us(self) -> tuple[float, float]:
        """95 % confidence interval of the mean time, which covers both twins, for inferences that are independent."""
        half = 1.96 * self.deviation_us / math.sqrt(self.runs)
        return min(self.twins_us) - half, max(self.twins_us) + half
