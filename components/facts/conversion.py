"""What conversion and inspection found in a file."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from components.core.values import FrozenModel
from components.facts.streaming import StreamingContract
from components.spec.steps.sparsity import SparsityVerification


class OperatorUse(FrozenModel):
    """One operator of a TFLite file.

    Attributes:
        name: Flatbuffer name of the builtin (`CONV_2D`), or `CUSTOM:<code>`.
        version: Version the file asks of the runtime.
        count: How often it occurs.
    """

    name: str
    version: int
    count: int


class TensorFact(FrozenModel):
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


class CellTensor(FrozenModel):
    """One tensor of a fused recurrent operator.

    Attributes:
        role: What the operator takes it for (`input`, `input to forget gate`, `cell state`).
        dtype: Flatbuffer name.
        shape: As in the file.
    """

    role: str
    dtype: str
    shape: tuple[int, ...]


class FusedCell(FrozenModel):
    """One fused recurrent operator.

    Attributes:
        name: Of its output tensor.
        operator: Flatbuffer name of the builtin.
        tensors: In the order of the operator's inputs, then its outputs.
    """

    name: str
    operator: str
    tensors: tuple[CellTensor, ...]


class Inspection(FrozenModel):
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


class ActivationRange(FrozenModel):
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


class LayerSensitivity(FrozenModel):
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


class FloatSearch(FrozenModel):
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


class StateErrors(FrozenModel):
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


class Converted(FrozenModel):
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
    sparsity: SparsityVerification | None = None
    streaming: StreamingContract | None = None
    steps: StateErrors | None = None


class ConversionFailure(FrozenModel):
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

_OUTCOME: TypeAdapter[ConversionOutcome] = TypeAdapter(ConversionOutcome)


def outcome_of(content: bytes) -> ConversionOutcome:
    """The outcome of a conversion from its `OUTCOME_FILE`; `Converted` means that `TFLITE_FILE` exists."""
    return _OUTCOME.validate_json(content)
