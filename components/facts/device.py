"""Facts about candidates on one device, measured by the device's own tools."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from components.core.values import FrozenModel
from components.facts.differences import OutputDifference
from components.facts.evaluation import SliceResult
from components.facts.tools.phone import AdbFacts


class ToolFailure(FrozenModel):
    """A candidate that a tool could not process.

    Attributes:
        cause: `refused` with the tool's own message, `crashed` (a signal or an exit code), `timed_out`, or
            `unavailable` (the device could not be used, so this says nothing about the candidate).
        message: What happened, with figures.
        remedy: How to fix it.
        transient: Whether another attempt with the same inputs may succeed. If so, the next run tries again.
    """

    status: Literal["failed"] = "failed"
    cause: Literal["refused", "crashed", "timed_out", "unavailable"]
    message: str
    remedy: str
    transient: bool = False


class CpuOperator(FrozenModel):
    """An operator that does not run on the NPU.

    Attributes:
        name: Its name in Vela's spelling (`ReverseV2`).
        output: Its output tensor.
        reason: Vela's reason; empty if it gives none.
    """

    name: str
    output: str
    reason: str


class VelaFacts(FrozenModel):
    """Results of Vela's compiler and cost model. Figures cover only the NPU, because Vela doesn't estimate the CPU.

    Attributes:
        accelerator, system_config, memory_mode: Target of the compilation.
        clock_hz: Clock of the NPU in the system configuration.
        operators: Number of operators in the TFLite file.
        cpu_operators: Operators that fall back to the CPU.
        cycles: Estimated cycles of one inference, including waits for memory. This field and those below, except
            `compiled_bytes`, are None if no operator runs on the NPU.
        sram_bytes: Peak SRAM use, including weights if the memory mode stores them there.
        dram_bytes: Peak DRAM use, including weights if the memory mode stores them there; 0 if the system has no DRAM.
        flash_bytes: Weights and commands as stored; 0 if they are in SRAM or DRAM.
        compiled_bytes: Size of the compiled TFLite file, which is stored on the device.
        macs: Multiply-accumulate operations of one inference.
    """

    status: Literal["measured"] = "measured"
    accelerator: str
    system_config: str
    memory_mode: str
    clock_hz: float
    operators: int
    cpu_operators: tuple[CpuOperator, ...]
    compiled_bytes: int
    cycles: int | None = None
    sram_bytes: int | None = None
    dram_bytes: int | None = None
    flash_bytes: int | None = None
    macs: int | None = None

    @property
    def npu_operators(self) -> int:
        """Number of the file's operators that run on the NPU."""
        return max(0, self.operators - len(self.cpu_operators))

    @property
    def npu_share(self) -> float:
        """Fraction of the file's operators that run on the NPU."""
        return self.npu_operators / self.operators if self.operators else 0.0

    @property
    def milliseconds(self) -> float | None:
        """Estimated time of one inference on the NPU, in milliseconds."""
        return None if self.cycles is None else 1e3 * self.cycles / self.clock_hz


class GoldenTensor(FrozenModel):
    """One raw input or output tensor of one example.

    Attributes:
        name: Name of the input or output.
        dtype: Its type, as NumPy names it.
        shape: Its shape, with a batch size of 1.
        content: Its bytes in C order, little-endian, as Base64.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    content: str

    @classmethod
    def of(cls, name: str, values: npt.NDArray[Any]) -> GoldenTensor:
        """Describe an array."""
        content = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        return cls(name=name, dtype=values.dtype.name, shape=values.shape, content=base64.b64encode(content).decode())

    def values(self) -> npt.NDArray[Any]:
        """Return the array."""
        kind = np.dtype(self.dtype).newbyteorder("<")
        return np.frombuffer(base64.b64decode(self.content), kind).reshape(self.shape)


class TflmFacts(FrozenModel):
    """Results of a candidate under TensorFlow Lite Micro on this machine.

    Attributes:
        arena_bytes: The smallest tensor arena in which it starts and runs, found by trial. A multiple of 16.
        persistent_bytes: Memory that stays allocated: structures, quantization parameters, and variables.
        non_persistent_bytes: Planned memory of activations and scratch buffers. Startup needs slightly more than the
            sum of both.
        examples: Number of examples that were run.
        outputs: Differences from the desktop runtime.
        slices: Metrics under TensorFlow Lite Micro, with changes from the baseline on the same examples.
        desktop_slices: The same under the desktop runtime, on the same examples.
        golden_inputs, golden_outputs: The first example, in the order of the file, and TFLM's results for it. Empty for
            files of one time step.
    """

    status: Literal["measured"] = "measured"
    arena_bytes: int
    persistent_bytes: int
    non_persistent_bytes: int
    examples: int
    outputs: tuple[OutputDifference, ...]
    slices: tuple[SliceResult, ...] = ()
    desktop_slices: tuple[SliceResult, ...] = ()
    golden_inputs: tuple[GoldenTensor, ...] = ()
    golden_outputs: tuple[GoldenTensor, ...] = ()

    @property
    def max_lsb(self) -> float:
        """The largest difference of any output; NaN if any of them is NaN."""
        worst = [output.max_lsb for output in self.outputs]
        return next((value for value in worst if value != value), max(worst, default=0.0))  # noqa: PLR0124 - NaN

    @property
    def mean_lsb(self) -> float:
        """The largest mean difference of any output."""
        return max((output.mean_lsb for output in self.outputs), default=0.0)


VelaOutcome = Annotated[VelaFacts | ToolFailure, Field(discriminator="status")]
TflmOutcome = Annotated[TflmFacts | ToolFailure, Field(discriminator="status")]
AdbOutcome = Annotated[AdbFacts | ToolFailure, Field(discriminator="status")]


class RuntimeFacts(FrozenModel):
    """Results of a candidate under another runtime, compared with the desktop runtime on the same examples.

    Attributes:
        examples: Number of examples that were run.
        outputs: Differences from the desktop runtime.
        slices: Metrics under this runtime, with changes from the baseline on the same examples.
    """

    status: Literal["measured"] = "measured"
    examples: int
    outputs: tuple[OutputDifference, ...]
    slices: tuple[SliceResult, ...] = ()

    @property
    def max_lsb(self) -> float:
        """The largest difference of any output, in least significant bits."""
        return max((output.max_lsb for output in self.outputs), default=0.0)

    @property
    def mean_lsb(self) -> float:
        """The largest mean difference of any output, in least significant bits."""
        return max((output.mean_lsb for output in self.outputs), default=0.0)


class RuntimeResult(FrozenModel):
    """The result of one runtime for a candidate: `desktop`, `litert_xnnpack`, or another name of the evaluator."""

    name: str
    outcome: Annotated[RuntimeFacts | ToolFailure, Field(discriminator="status")]


class CandidateOnDevice(FrozenModel):
    """Results of the device's tools for one candidate; None for tools that the profile does not declare.

    Attributes:
        name: Name of the recipe.
        sha256: Digest of the file that the tools got.
        runtimes: First the desktop's, if the evaluator `runtimes` ran.
    """

    name: str
    sha256: str
    vela: VelaOutcome | None = None
    tflm: TflmOutcome | None = None
    adb: AdbOutcome | None = None
    runtimes: tuple[RuntimeResult, ...] = ()

    @property
    def failures(self) -> tuple[ToolFailure, ...]:
        """Failures of the tools that could not process the candidate."""
        found = (self.vela, self.tflm, self.adb, *(each.outcome for each in self.runtimes))
        return tuple(outcome for outcome in found if isinstance(outcome, ToolFailure))

    @property
    def noisy(self) -> bool:
        """Whether the time on the phone was measured but can't be used, so another measurement may help."""
        return isinstance(self.adb, AdbFacts) and bool(self.adb.disagreement)

    @property
    def figures(self) -> dict[str, int]:
        """The known figures that are stored in ML Metadata, by a name with the unit."""
        vela = self.vela if isinstance(self.vela, VelaFacts) else None
        phone = self.adb if isinstance(self.adb, AdbFacts) else None
        known = {
            "npu_cycles": vela.cycles if vela else None,
            "cpu_operators": len(vela.cpu_operators) if vela else None,
            "sram_bytes": vela.sram_bytes if vela else None,
            "flash_bytes": vela.flash_bytes if vela else None,
            "arena_bytes": self.tflm.arena_bytes if isinstance(self.tflm, TflmFacts) else None,
            "phone_latency_us": round(phone.latency_us) if phone else None,
            "phone_memory_bytes": phone.memory_bytes if phone else None,
        }
        return {name: value for name, value in known.items() if value is not None}


class DeviceReport(FrozenModel):
    """Results of one device's tools for all converted candidates, in the order of the pipeline file.

    Attributes:
        device: Name of the device profile.
        candidates: Results for each candidate.
        baseline_slices: Metrics of the float baseline on the examples that TensorFlow Lite Micro ran.
    """

    device: str
    candidates: tuple[CandidateOnDevice, ...]
    baseline_slices: tuple[SliceResult, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that were evaluated under TensorFlow Lite Micro."""
        return tuple(self.baseline_slices[0].metrics) if self.baseline_slices else ()

    def of(self, name: str) -> CandidateOnDevice | None:
        """The results for one candidate; None if there are none."""
        return next((candidate for candidate in self.candidates if candidate.name == name), None)
