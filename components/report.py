"""Measured facts, as typed values: what inspection, evaluation and benchmark found, and what the gate reads."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from components.compression import CompressedBytes
from components.recipe import Recipe
from components.sparsity import SparsityClaim, SparsityProof
from components.streaming import StreamingContract
from components.values import Value


class OperatorUse(Value):
    """One operator of a TFLite file.

    Attributes:
        name: Flatbuffer name of the builtin (`CONV_2D`), or `CUSTOM:<code>`.
        version: Version the file asks of the runtime.
        count: How often it occurs.
    """

    name: str
    version: int
    count: int


class TensorFact(Value):
    """One tensor of a TFLite file.

    Attributes:
        name: As in the file; of one without a name its place among the tensors (`tensor 12`).
        shape: As in the file; -1 where the signature leaves a dimension open.
        dtype: Flatbuffer name (`INT8`, `FLOAT32`, `INT4`, `RESOURCE`).
        bytes: Size of its constant buffer; 0 for activations.
        scales: Number of quantization scales: 0 unquantized, 1 per tensor, more per channel.
        sparsity: Fraction of zeros (of the quantized zero point) among the weights; None for activations.
        sparse_encoded: Whether the file stores it in a sparse format.
        unique_values: Number of distinct values of a weight; None for activations.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    scales: int
    sparsity: float | None = None
    sparse_encoded: bool = False
    unique_values: int | None = None


class CellTensor(Value):
    """One tensor of a fused recurrent operator.

    Attributes:
        role: What the operator takes it for (`input`, `input to forget gate`, `cell state`).
        dtype: Flatbuffer name.
        shape: As in the file.
    """

    role: str
    dtype: str
    shape: tuple[int, ...]


class FusedCell(Value):
    """One fused recurrent operator.

    Attributes:
        name: Of its output tensor.
        operator: Flatbuffer name of the builtin.
        tensors: In the order of the operator's inputs, then its outputs.
    """

    name: str
    operator: str
    tensors: tuple[CellTensor, ...]


class Inspection(Value):
    """What is really in a TFLite file.

    Attributes:
        file_bytes: Size of the file, in bytes.
        weight_bytes: Bytes of constant buffers.
        operators: Operators, most frequent first.
        dtype_counts: Tensor dtype -> number of tensors that hold data.
        inputs, outputs: The model's border.
        weights: Constant tensors of at least 2 dimensions or 16 elements, largest first.
        float_tensors: Names of all float tensors; empty means integers only.
        stateful: Whether the interpreter keeps variables between invocations.
        cells: Fused recurrent operators, with the type of each of their tensors.
    """

    file_bytes: int
    weight_bytes: int
    operators: tuple[OperatorUse, ...]
    dtype_counts: dict[str, int]
    inputs: tuple[TensorFact, ...]
    outputs: tuple[TensorFact, ...]
    weights: tuple[TensorFact, ...]
    float_tensors: tuple[str, ...]
    stateful: bool
    cells: tuple[FusedCell, ...] = ()

    @property
    def integer_only(self) -> bool:
        """Whether an accelerator without floating point takes the file whole."""
        return not self.float_tensors


class ActivationRange(Value):
    """The range that one activation's integers stand for, as it was estimated from the calibration sample.

    Attributes:
        tensor: As in the file.
        observed: Least and greatest value over the sample, and zero.
        chosen: What the file has.
        histogram: Counts of the values in equal bins over `observed` without zero; only of the tensor that was clipped
            most, for a picture.
        histogram_bounds: What these bins span.
    """

    tensor: str
    observed: tuple[float, float]
    chosen: tuple[float, float]
    histogram: tuple[int, ...] = ()
    histogram_bounds: tuple[float, float] = (0.0, 0.0)

    @property
    def clipped(self) -> float:
        """Which part of the observed range was cut away."""
        width = self.observed[1] - self.observed[0]
        return max(0.0, 1 - (self.chosen[1] - self.chosen[0]) / width) if width else 0.0


class LayerSensitivity(Value):
    """What quantizing one layer alone does to the model's output.

    Attributes:
        layer: Its name, as `keep_float` takes it.
        operators: Its operators in the float file.
        error: Energy of the output's error over energy of the float output: sum((q - f)**2) / sum(f**2), over the
            calibration sample; -10 log10 of it is the signal-to-quantization-noise ratio in decibels.
        kept_float: Whether the delivered file leaves it float.
    """

    layer: str
    operators: tuple[str, ...]
    error: float
    kept_float: bool

    @property
    def decibels(self) -> float:
        """Signal-to-quantization-noise ratio at the output; infinite without any error."""
        return -10 * math.log10(self.error) if self.error > 0 else math.inf


class FloatSearch(Value):
    """How `keep_float: auto` came to its number of layers.

    Attributes:
        metric: The pipeline's first metric.
        examples: Size of the calibration sample, which it was computed on.
        float_value: What the float model scores there.
        max_drop: How much worse a candidate may be.
        drops: How much worse it is with 0, 1, 2... of the most sensitive layers float; the last holds the bound.
    """

    metric: str
    examples: int
    float_value: float
    max_drop: float
    drops: tuple[float, ...]


class StepErrors(Value):
    """How far the states of an integer recurrent model are from the float model's, time step by time step.

    Of a fused LSTM the hidden state: its cell state does not leave the operator.

    Relative to the root mean square of the float model's state over all time steps; of the worst state where there are
    several layers.

    Attributes:
        examples: Sequences that it was measured on.
        rms: Root mean square of the error after each time step.
        worst: Its greatest magnitude.
    """

    examples: int
    rms: tuple[float, ...]
    worst: tuple[float, ...]

    @property
    def greatest(self) -> float:
        """The greatest root mean square of all time steps: what the gate bounds."""
        return max(self.rms, default=0.0)


class Converted(Value):
    """A recipe that yielded a file which holds what its scheme promises.

    Attributes:
        inspection: What is in the file.
        seconds: Wall time of the conversion.
        peak_memory_bytes: Most resident memory of its process.
        lost_ranges: Activations that were trained with a range that no tensor of the file has.
        ranges: Estimated ranges, most clipped first; empty where TensorFlow's own converter took minima and maxima.
        sensitivity: Layers, most sensitive first; empty unless the scheme says `keep_float`.
        search: Only of `keep_float: auto`.
        sparsity: What was proven of its sparse weights; None for a model that was not pruned.
        streaming: How a model of one time step is driven; None for any other.
        steps: Errors of the states of a lowered recurrent model; None for any other.
    """

    status: Literal["converted"] = "converted"
    inspection: Inspection
    seconds: float
    peak_memory_bytes: int
    lost_ranges: tuple[str, ...] = ()
    ranges: tuple[ActivationRange, ...] = ()
    sensitivity: tuple[LayerSensitivity, ...] = ()
    search: FloatSearch | None = None
    sparsity: SparsityProof | None = None
    streaming: StreamingContract | None = None
    steps: StepErrors | None = None


class ConversionFailure(Value):
    """A recipe that did not.

    Attributes:
        scheme: The scheme that was asked for.
        cause: `refused` by the converter, `crashed` (a signal), `out_of_memory`, `timed_out`,
            `broken_promise`: a file came out, but not what the scheme says, or `unmet_bound`: no choice of float
            layers holds the declared accuracy.
        message: What happened, with figures.
        remedy: What the user can do.
        transient: Whether the next attempt may end otherwise, with the same inputs: the next run tries again.
    """

    status: Literal["failed"] = "failed"
    scheme: str
    cause: Literal["refused", "crashed", "out_of_memory", "timed_out", "broken_promise", "unmet_bound"]
    message: str
    remedy: str
    transient: bool = False


ConversionOutcome = Annotated[Converted | ConversionFailure, Field(discriminator="status")]


class LayerPlan(Value):
    """What becomes of one layer of the user's model: in a step that trains, or of a recurrent one anyway.

    Attributes:
        layer: Its name; inside nested models `outer/inner`.
        kind: Its class.
        mode: Of quantization-aware training: `trained` under quantization; `watched`: ranges are seen in training and
            applied afterwards; `float`; or `refused`. Of the other steps: `pruned`, `clustered`, or `as it is`. Of a
            recurrent layer without training: `fused` into one operator, `lowered` to one time step, `unrolled` over
            the sequence, or a `loop`.
        weights: How its weights are quantized; empty if it has none that are.
        outputs: How its outputs are.
        note: What was done to it before, or why it is refused and what to do.
    """

    layer: str
    kind: str
    mode: Literal[
        "trained",
        "watched",
        "float",
        "refused",
        "pruned",
        "clustered",
        "as it is",
        "fused",
        "lowered",
        "unrolled",
        "loop",
    ]
    weights: str = ""
    outputs: str = ""
    note: str = ""


class TrainedRange(Value):
    """The range of one activation after training, as integer kernels hold it: `(q - zero_point) * scale`.

    Attributes:
        tensor: The layer at whose end it is, or `input NAME` where floats enter.
        low, high: Least and greatest value that is represented.
        scale, zero_point: As the file must have them.
        seen: Least and greatest value of the histogram, where one was kept; None otherwise.
        histogram: Its counts in 64 equal bins over `seen`.
    """

    tensor: str
    low: float
    high: float
    scale: float
    zero_point: int
    seen: tuple[float, float] | None = None
    histogram: tuple[int, ...] = ()


class EpochFact(Value):
    """One epoch of fine-tuning.

    Attributes:
        epoch: From 1.
        learning_rate: At its last step.
        seconds: Wall time.
        figures: Loss and metrics; those on held-out examples begin with `val_`.
    """

    epoch: int
    learning_rate: float
    seconds: float
    figures: dict[str, float]


class WeightFact(Value):
    """What a step left of one kernel.

    Attributes:
        layer: Its layer's name; inside nested models `outer/inner`.
        weight: Which of the layer's: `kernel`, `recurrent_kernel`.
        shape: As Keras has it.
        sparsity: Fraction of zeros.
        unique_values: Number of different values, zero included.
        wanted_sparsity: What the step asked for; None if it did not.
        wanted_values: Likewise, at most so many values.
    """

    layer: str
    weight: str
    shape: tuple[int, ...]
    sparsity: float
    unique_values: int
    wanted_sparsity: float | None = None
    wanted_values: int | None = None


class PruningSensitivity(Value):
    """How much the zeros of one layer alone change the model's output.

    Attributes:
        layer: Its name.
        levels: Sparsities that were tried.
        errors: At each, the mean squared difference of the output over its variance.
        chosen: The sparsity that the layer was given.
    """

    layer: str
    levels: tuple[float, ...]
    errors: tuple[float, ...]
    chosen: float


class TrainingReport(Value):
    """What a training step did.

    Attributes:
        recipe: Name of the recipe.
        kind: The step's.
        epochs: One fact each; less than asked for if it stopped early.
        best_epoch: The epoch whose weights were kept.
        layers: What became of each layer.
        ranges: Trained ranges of activations.
        weights: What zeros and shared values the kernels have after it, as far as a step of the recipe made any.
        sensitivity: Of each pruned layer, where the sparsity was spread by it.
        claim: What conversion is to prove of the zeros; None for a model that no step pruned.
    """

    recipe: str
    kind: str
    epochs: tuple[EpochFact, ...]
    best_epoch: int
    layers: tuple[LayerPlan, ...] = ()
    ranges: tuple[TrainedRange, ...] = ()
    weights: tuple[WeightFact, ...] = ()
    sensitivity: tuple[PruningSensitivity, ...] = ()
    claim: SparsityClaim | None = None


class MetricValue(Value):
    """A metric with its 95 % confidence interval. NaN where it could not be computed; None without an interval."""

    value: float
    lower: float | None = None
    upper: float | None = None


class SliceResult(Value):
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


class Latency(Value):
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


class CandidateReport(Value):
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


class OutputReading(Value):
    """What the metrics took the model's output for: the baseline's and each candidate's alike.

    Attributes:
        kind: What the model returns.
        applied: What made probabilities of it before the metrics; empty if nothing did.
        why: What shows it.
        averages: For each metric that is the mean of one for each class or output, a sentence on which.
    """

    kind: Literal["probabilities", "logits", "values"]
    applied: Literal["", "softmax", "sigmoid"] = ""
    why: str = ""
    averages: tuple[str, ...] = ()


class EvaluationReport(Value):
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


Severity = Literal["info", "warning", "error"]


class Finding(Value):
    """One thing that the calibration audit noticed. An error stops the run.

    Attributes:
        check: Which check found it (`non_finite`, `constant`, `missing_stratum`, `range`, `leak`, `stability`, `size`).
        where: Input or feature.
        message: What was found, with figures.
        remedy: What the user can do; empty for mere information.
    """

    severity: Severity
    check: str
    where: str
    message: str
    remedy: str = ""


class RangeFact(Value):
    """The values of one model input, in the sample and in the split it was drawn from.

    Attributes:
        input: Name of the model input ("" if the model has one unnamed input).
        sample: Least and greatest finite value in the sample.
        split: The same over the whole split.
        halves: Least and greatest of two disjoint halves of the sample.
        histogram: Counts of the sample's values in equal bins over `sample`.
        split_histogram: Counts of the split's values in the same bins; what is outside counts in the outermost.
    """

    input: str
    sample: tuple[float, float]
    split: tuple[float, float]
    halves: tuple[tuple[float, float], tuple[float, float]]
    histogram: tuple[int, ...]
    split_histogram: tuple[int, ...]


class StratumFact(Value):
    """How many examples of one stratum exist, and how many were taken."""

    value: str
    available: int
    taken: int


class AuditReport(Value):
    """What is known about a calibration sample."""

    asked: int
    available: int
    taken: int
    seed: int
    strata: tuple[StratumFact, ...] = ()
    ranges: tuple[RangeFact, ...] = ()
    findings: tuple[Finding, ...] = ()


Verdict = Literal["pass", "fail", "not_enough_data"]


class Check(Value):
    """One bound held against one measured value.

    Attributes:
        what: The quantity, with its unit (`accuracy`, `change of accuracy`, `file bytes`, `latency ratio`).
        where: The slice, or the device's name for a budget.
        bound: The bound in words and figures (`at least 0.85`).
        measured: The value in words and figures (`0.8312 [0.8080, 0.8544], 1000 examples`).
        verdict: Of this check alone.
    """

    what: str
    where: str
    bound: str
    measured: str
    verdict: Verdict


class CandidateDecision(Value):
    """What the gate thinks of one candidate for one device: `fail` beats `not_enough_data` beats `pass`."""

    candidate: str
    verdict: Verdict
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if check.verdict != "pass")


class Decision(Value):
    """The gate's decision for one device.

    Attributes:
        device: Name of the device profile.
        verdict: `pass` if a candidate is blessed; else `fail`, or `not_enough_data` if that is all that kept every
            unblessed candidate from passing that did not plainly fail.
        chosen: The blessed candidate; None unless the verdict is `pass`.
        chosen_sha256: Digest of the blessed bytes: what a pusher must compare before it delivers.
        why: One sentence: why this one, or why none.
        candidates: In the order of the pipeline file.
    """

    device: str
    verdict: Verdict
    chosen: str | None
    chosen_sha256: str | None
    why: str
    candidates: tuple[CandidateDecision, ...]
