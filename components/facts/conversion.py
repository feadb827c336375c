"""Results of the conversion and inspection of a file."""

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
        version: Version that the file requires of the runtime.
        count: Number of occurrences.
    """

    name: str
    version: int
    count: int


class TensorFact(FrozenModel):
    """One tensor of a TFLite file.

    Attributes:
        name: As in the file. For a tensor without a name, its index (`tensor 12`).
        shape: As in the file; -1 for a dimension that the signature leaves open.
        dtype: Flatbuffer name (`INT8`, `FLOAT32`, `INT4`, `RESOURCE`).
        bytes: Size of its constant buffer; 0 for activations.
        scales: Number of quantization scales: 0 unquantized, 1 per tensor, more per channel.
        sparsity: Fraction of zeros (quantized: of the zero point) among the weights; None for activations.
        sparse_encoded: Whether the file stores it in a sparse format.
        unique_values: Number of distinct values of a weight; None for activations.
        signature: Only for an input or output: its name in the file's signature, which `get_signature_runner()` uses;
            empty for a file without one.
        scale, zero_point: Only for an input or output: a real value is scale x (integer - zero_point). None if it is
            not quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    scales: int
    sparsity: float | None = None
    sparse_encoded: bool = False
    unique_values: int | None = None
    signature: str = ""
    scale: float | None = None
    zero_point: int | None = None


class CellTensor(FrozenModel):
    """One tensor of a fused recurrent operator.

    Attributes:
        role: The tensor's role in the operator (`input`, `input to forget gate`, `cell state`).
        dtype: Flatbuffer name.
        shape: As in the file.
    """

    role: str
    dtype: str
    shape: tuple[int, ...]


class FusedCell(FrozenModel):
    """One fused recurrent operator.

    Attributes:
        name: Name of its output tensor.
        operator: Flatbuffer name of the builtin.
        tensors: In the order of the operator's inputs, then its outputs.
    """

    name: str
    operator: str
    tensors: tuple[CellTensor, ...]


class Inspection(FrozenModel):
    """The actual content of a TFLite file.

    Attributes:
        file_bytes: Size of the file, in bytes.
        weight_bytes: Bytes of constant buffers.
        operators: Operators, most frequent first.
        dtype_counts: Tensor dtype -> number of tensors that contain data.
        inputs, outputs: Inputs and outputs of the model, in the order of the file. The converter chooses that order, so
            use their names in the signature.
        weights: Constant tensors of at least 2 dimensions or 16 elements, largest first.
        float_tensors: Names of all float tensors. Empty if the file has only integers.
        border_casts: The float tensors between an integer or boolean input and the operator that quantizes it, or
            between the operator that dequantizes an output and its cast to integers or booleans.
        stateful: Whether the interpreter keeps variables between invocations.
        cells: Fused recurrent operators, with the dtypes of their tensors.
        runtime_floor: The oldest version of TensorFlow Lite that has all operators, as the converter wrote it into the
            file; None if it didn't.
    """

    file_bytes: int
    weight_bytes: int
    operators: tuple[OperatorUse, ...]
    dtype_counts: dict[str, int]
    inputs: tuple[TensorFact, ...]
    outputs: tuple[TensorFact, ...]
    weights: tuple[TensorFact, ...]
    float_tensors: tuple[str, ...]
    border_casts: tuple[str, ...] = ()
    stateful: bool
    cells: tuple[FusedCell, ...] = ()
    runtime_floor: str | None = None

    @property
    def integer_only(self) -> bool:
        """Whether an accelerator without floating point can run the complete file."""
        return not self.float_tensors


class ActivationRange(FrozenModel):
    """The range of one quantized activation, estimated from the calibration sample.

    Attributes:
        tensor: As in the file.
        observed: Smallest and largest value over the sample, extended to zero.
        chosen: The range in the file.
        histogram: Counts of the values in equal bins over `observed` before its extension to zero. Only for the tensor
            that was clipped most, for a figure.
        histogram_bounds: The range of these bins.
    """

    tensor: str
    observed: tuple[float, float]
    chosen: tuple[float, float]
    histogram: tuple[int, ...] = ()
    histogram_bounds: tuple[float, float] = (0.0, 0.0)

    @property
    def clipped(self) -> float:
        """The fraction of the observed range that was clipped."""
        width = self.observed[1] - self.observed[0]
        return max(0.0, 1 - (self.chosen[1] - self.chosen[0]) / width) if width else 0.0


class LayerSensitivity(FrozenModel):
    """The effect of quantizing only this layer on the model's output.

    Attributes:
        layer: Name of the layer, as `keep_float` accepts it.
        operators: Its operators in the float file.
        error: Energy of the output's error divided by the energy of the float output: sum((q - f)**2) / sum(f**2), over
            the calibration sample. -10 log10 of it is the signal-to-quantization-noise ratio in decibels.
        kept_float: Whether the layer is float in the delivered file.
    """

    layer: str
    operators: tuple[str, ...]
    error: float
    kept_float: bool

    @property
    def decibels(self) -> float:
        """Signal-to-quantization-noise ratio at the output, in decibels; infinite if there is no error."""
        return -10 * math.log10(self.error) if self.error > 0 else math.inf


class FloatSearch(FrozenModel):
    """The search by which `keep_float: auto` determined its number of float layers.

    Attributes:
        metric: The pipeline's first metric.
        examples: Size of the calibration sample that the metric was computed on.
        float_value: The float model's value on the sample.
        max_drop: How much worse a candidate can be.
        drops: How much worse the candidate is with the 0, 1, 2... most sensitive layers in float. The last value meets
            the bound.
    """

    metric: str
    examples: int
    float_value: float
    max_drop: float
    drops: tuple[float, ...]


class StateErrors(FrozenModel):
    """The errors of an integer recurrent model's states compared with the float model's, at each time step.

    For a fused LSTM, the state is the hidden state because the cell state is not available outside the operator.

    Errors are relative to the root mean square of the float model's state over all time steps. With several layers,
    they are the errors of the worst state.

    Attributes:
        examples: Number of sequences in the measurement.
        rms: Root mean square of the error after each time step.
        worst: Largest magnitude of the error after each time step.
    """

    examples: int
    rms: tuple[float, ...]
    worst: tuple[float, ...]

    @property
    def greatest(self) -> float:
        """The largest root mean square of any time step, which the gate bounds."""
        return max(self.rms, default=0.0)


class PinnedFact(FrozenModel):
    """An input or output with the quantization that a device's firmware fixes.

    Attributes:
        kind: `input` or `output`.
        name: Its name in the file's signature.
        dtype, scale, zero_point: The pinned quantization.
        converted_scale, converted_zero_point: The converter's values.
        requantized: Whether a QUANTIZE operator converts between the two.
        clipped: Share of the calibration sample's values outside the pinned range; None without a sample.
    """

    kind: Literal["input", "output"]
    name: str
    dtype: str
    scale: float
    zero_point: int
    converted_scale: float
    converted_zero_point: int
    requantized: bool
    clipped: float | None = None


class Converted(FrozenModel):
    """A recipe that produced a file with the properties that its scheme promises.

    Attributes:
        inspection: The content of the file.
        seconds: Wall time of the conversion.
        peak_memory_bytes: Peak resident memory of the conversion process.
        lost_ranges: Activations whose trained range no tensor of the file has.
        ranges: Estimated ranges, most clipped first. Empty if TensorFlow's own converter used minima and maxima.
        sensitivity: Layers, most sensitive first. Empty unless the scheme has `keep_float`.
        search: The search of `keep_float: auto`; None without it.
        sparsity: Verification of the sparse weights; None for a model that was not pruned.
        streaming: How to run a model of one time step; None for any other model.
        state_errors: Errors of the states of a lowered recurrent model; None for any other model.
        pinned: Inputs and outputs whose quantization a device fixes.
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
    state_errors: StateErrors | None = None
    pinned: tuple[PinnedFact, ...] = ()


class ConversionFailure(FrozenModel):
    """A recipe that produced no usable file.

    Attributes:
        scheme: The recipe's scheme.
        cause: `refused` by the converter; `crashed` (a signal); `out_of_memory`; `timed_out`; `broken_promise` if the
            file doesn't have the properties of its scheme; or `unmet_bound` if no choice of float layers meets the
            declared accuracy.
        message: What happened, with figures.
        remedy: How to fix it.
        transient: Whether another attempt with the same inputs may succeed. If so, the next run tries again.
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
    """Parse the `OUTCOME_FILE` of a conversion. If the outcome is `Converted`, `TFLITE_FILE` exists."""
    return _OUTCOME.validate_json(content)
