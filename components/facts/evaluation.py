"""What the evaluation measured of the baseline and of every candidate."""

from __future__ import annotations

from components.core.compression import CompressedBytes
from components.core.values import FrozenModel
from components.facts.conversion import ConversionOutcome
from components.facts.outputs import OutputReading
from components.spec.recipe import Recipe


class MetricValue(FrozenModel):
    """A metric with its 95 % confidence interval. NaN where it could not be computed; None without an interval."""

    value: float
    lower: float | None = None
    upper: float | None = None


class SliceResult(FrozenModel):
    """Metrics on one slice of the evaluation data.

    Attributes:
        slice: `overall`, or `feature=value` (several joined by `, `).
        examples: Number of examples in it.
        metrics: Metric name -> value.
        change: Metric name -> candidate minus baseline on the same examples; empty for the baseline itself.
    """

    slice: str
    examples: int
    metrics: dict[str, MetricValue]
    change: dict[str, MetricValue] = {}


class Latency(FrozenModel):
    """Host time of one invocation, from one interleaved run.

    Attributes:
        microseconds: Minimum over rounds.
        ratio: Divided by the float TFLite model's minimum. None if that is under 20 microseconds or the twin
            baseline disagreed by more than 5 %: then nothing can be said.
        note: Why there is no ratio, or what to bear in mind.
        transient: Whether the twins disagreed: another run may give a ratio.
    """

    microseconds: float
    ratio: float | None
    note: str = ""
    transient: bool = False


class CandidateReport(FrozenModel):
    """All facts about one candidate.

    Attributes:
        recipe: What made it.
        outcome: What became of its conversion.
        sha256: Of its file.
        compressed: What its file weighs on the wire.
        slices: What it scores.
        latency: Its time on the host.
        saturated: The share of its output values at an end of the quantized range, over all evaluation examples; over a
            fifth of them, that of what a final sum or the like is made of, if it is greater. None where there is no
            such end.
    """

    recipe: Recipe
    outcome: ConversionOutcome
    sha256: str | None = None
    compressed: CompressedBytes | None = None
    slices: tuple[SliceResult, ...] = ()
    latency: Latency | None = None
    saturated: float | None = None

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name


class EvaluationReport(FrozenModel):
    """One evaluation: the float baseline and every candidate on the same examples.

    Attributes:
        baseline_slices: What the float SavedModel scores.
        baseline_bytes: Size of the baseline as a float32 TFLite file, in bytes: what ratios of size refer to.
        candidates: In the order of the pipeline file.
        outputs: What the model's output was taken for.
    """

    baseline_slices: tuple[SliceResult, ...]
    baseline_bytes: int
    candidates: tuple[CandidateReport, ...]
    outputs: OutputReading | None = None
