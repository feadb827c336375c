"""Results of the evaluation of the baseline and all candidates."""

from __future__ import annotations

from components.core.compression import CompressedBytes
from components.core.values import FrozenModel
from components.facts.conversion import ConversionOutcome
from components.facts.outputs import OutputReading
from components.facts.sample import Sample
from components.spec.recipe import Recipe


class MetricValue(FrozenModel):
    """A metric with its 95% confidence interval.

    Attributes:
        value: The metric; NaN if it could not be computed.
        lower, upper: Ends of the interval; None without one.
    """

    value: float
    lower: float | None = None
    upper: float | None = None


class Flips(FrozenModel):
    """How the answers of a candidate differ from the baseline's, for a metric that is right or wrong on each example.

    Attributes:
        lost: Number of examples that only the baseline answers correctly.
        gained: Number of examples that only the candidate answers correctly.
    """

    lost: int
    gained: int


class SliceResult(FrozenModel):
    """Metrics on one slice of the evaluation data.

    Attributes:
        slice: `overall`, or `feature=value` (several joined by `, `).
        examples: Number of examples in the slice.
        metrics: Metric name -> value.
        change: Metric name -> candidate minus baseline on the same examples. Empty for the baseline itself.
        flips: Metric name -> how answers differ from the baseline's. Only for candidates, and for means over examples
            that are 0 or 1 on each example, all of which have the weight 1.
        parts: The number of examples in each part that the intervals leave out in turn.
        groups: With `evaluate.group_by`, the number of groups; exact up to 16,384, approximate above. None without it.
        without: Metric name -> its value without each part, for metrics with an interval.
        samples: Metric name -> the contribution of each unit, for ratios of sums with a known range and for areas under
            the ROC curve.
    """

    slice: str
    examples: int
    metrics: dict[str, MetricValue]
    change: dict[str, MetricValue] = {}
    flips: dict[str, Flips] = {}
    parts: tuple[int, ...] = ()
    groups: int | None = None
    without: dict[str, tuple[float, ...]] = {}
    samples: dict[str, Sample] = {}

    @property
    def shown(self) -> SliceResult:
        """The same without the fields that only tests read, which are longer than all others."""
        return self.model_copy(update={"parts": (), "without": {}, "samples": {}})


class Latency(FrozenModel):
    """Time of one inference on the host, from one interleaved run.

    Attributes:
        microseconds: Minimum over the rounds.
        ratio: Median over the rounds of its time divided by the float TFLite model's. None if one of them is
            under 20 microseconds, or the float model's twins did not agree, which makes a comparison impossible.
        lower, upper: 95 % confidence interval of the ratio. It is at least 5 % wide on both sides, because equal files
            can differ by that much.
        note: Why there is no ratio, or something else to keep in mind.
        transient: Whether the twins disagreed, so that another run may give a ratio.
    """

    microseconds: float
    ratio: float | None
    lower: float | None = None
    upper: float | None = None
    note: str = ""
    transient: bool = False


class UnequalRanges(FrozenModel):
    """Channels of a quantized output that have few integers, because its other channels need a wide range.

    Attributes:
        output: Name of the output.
        step: Size of one step of its integers.
        axis: The axis of the channels; 0 is the batch.
        channels: Their indexes.
        low, high: Range of these channels in the float model.
        steps: The maximum number of steps that one of them covers.
        widest_low, widest_high: Range of the widest channel.
    """

    output: str
    step: float
    axis: int
    channels: tuple[int, ...]
    low: float
    high: float
    steps: float
    widest_low: float
    widest_high: float


class CandidateReport(FrozenModel):
    """All facts about one candidate.

    Attributes:
        recipe: Recipe of the candidate.
        outcome: Outcome of its conversion.
        sha256: Digest of its file.
        compressed: Size of its file in transit.
        slices: Metrics on each slice.
        latency: Time on the host.
        saturated: Share of output values at an end of the quantized range, over all evaluation examples. If greater,
            the share of the values that a final operator such as a sum combines, over a fifth of the examples. None if
            the output is not quantized, or its range covers all that the operator can return. With several outputs,
            the largest share of any.
        saturated_by_output: With several outputs, the share for each output that has one.
        unequal_ranges: Outputs whose quantization leaves few integers to some channels.
        predicted_bytes: Size of the stored predictions; None if the candidate could not be run.
    """

    recipe: Recipe
    outcome: ConversionOutcome
    sha256: str | None = None
    compressed: CompressedBytes | None = None
    slices: tuple[SliceResult, ...] = ()
    latency: Latency | None = None
    saturated: float | None = None
    saturated_by_output: dict[str, float] = {}
    unequal_ranges: tuple[UnequalRanges, ...] = ()
    predicted_bytes: int | None = None

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name


class BaselineSlices(FrozenModel):
    """Metrics of the float baseline on each slice."""

    slices: tuple[SliceResult, ...] = ()


class EvaluationReport(FrozenModel):
    """One evaluation: the float baseline and every candidate on the same examples.

    Attributes:
        baseline_slices: Metrics of the float SavedModel on each slice.
        baseline_bytes: Size of the baseline as a float32 TFLite file, in bytes. Ratios of size refer to it.
        candidates: All candidates, in the order of the pipeline file.
        outputs: How the metrics interpret the only output that they read.
        readings: If the metrics read several outputs, how they interpret each.
        spans: Metrics without samples, all of whose examples contribute, whose values have a minimum and a
            maximum -> the difference of the two, times the influence of one example
            (`components.metrics.accumulator.KeptExamples`).
    """

    baseline_slices: tuple[SliceResult, ...]
    baseline_bytes: int
    candidates: tuple[CandidateReport, ...]
    outputs: OutputReading | None = None
    readings: dict[str, OutputReading] = {}
    spans: dict[str, float] = {}
