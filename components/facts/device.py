"""Measured facts about candidates on one device, by the device's own tools; part of what `components.report` is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.core.values import FrozenModel


class ToolFailure(FrozenModel):
    """A candidate that a tool could not take.

    Attributes:
        cause: `refused` with the tool's own words, `crashed` (a signal or an exit code), or `timed_out`.
        message: What happened, with figures.
        remedy: What the user can do.
        transient: Whether the next attempt may end otherwise, with the same inputs: the next run tries again.
    """

    status: Literal["failed"] = "failed"
    cause: Literal["refused", "crashed", "timed_out"]
    message: str
    remedy: str
    transient: bool = False


class CpuOperator(FrozenModel):
    """An operator that the NPU does not take.

    Attributes:
        name: In Vela's spelling (`ReverseV2`).
        output: The tensor it makes.
        reason: Vela's; empty if it gives none.
    """

    name: str
    output: str
    reason: str


class VelaFacts(FrozenModel):
    """What Vela's compiler and cost model say. Figures are of the NPU's part alone: the CPU's is not estimated.

    Attributes:
        accelerator, system_config, memory_mode: What it was compiled for.
        clock_hz: The NPU's, by the system configuration.
        operators: How many the TFLite file has.
        cpu_operators: Those that fall back to the CPU.
        cycles: Estimate for one inference, waiting for memory included. This and what follows is None where no
            operator runs on the NPU.
        sram_bytes: Peak; with weights where the memory mode keeps them there.
        dram_bytes: Likewise; 0 where the system has none.
        flash_bytes: Weights and commands as they are stored; 0 where they lie in SRAM or DRAM.
        compiled_bytes: Size of the compiled TFLite file: what is stored on the device.
        macs: Multiply-accumulates of one inference.
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
        """How many of the file's operators the NPU takes."""
        return max(0, self.operators - len(self.cpu_operators))

    @property
    def npu_share(self) -> float:
        """The same as a fraction."""
        return self.npu_operators / self.operators if self.operators else 0.0

    @property
    def milliseconds(self) -> float | None:
        """Estimated time of one inference on the NPU."""
        return None if self.cycles is None else 1e3 * self.cycles / self.clock_hz


class OutputDifference(FrozenModel):
    """One output of a candidate under TFLM beside the desktop runtime's.

    Attributes:
        output: Its name.
        lsb: Real value of one least significant bit: the tensor's scale, 1 for other integers; for a float output 1/255
            of the span of the desktop runtime's values over the examples, what 8 bits would resolve.
        max_lsb: Largest difference of one value, in these.
        differing: Fraction of values that differ at all.
        mean_lsb: Mean absolute difference, in the same unit as `max_lsb`.
        gross_lsb: The mean from which on the outputs have little to do with each other.
    """

    output: str
    lsb: float
    max_lsb: float
    differing: float
    mean_lsb: float = 0.0
    gross_lsb: float = 0.0

    @property
    def gross(self) -> bool:
        """Whether the runtimes compute different things, and not merely round differently; NaN is gross."""
        return not self.mean_lsb <= self.gross_lsb


class TflmFacts(FrozenModel):
    """What TensorFlow Lite for microcontrollers does with a candidate, on this machine.

    Attributes:
        arena_bytes: The smallest tensor arena it starts and runs in, found by trying: a multiple of 16.
        persistent_bytes: What stays allocated: structures, quantization parameters, variables.
        non_persistent_bytes: The plan of activations and scratch buffers. While it starts it needs a bit more than the
            sum of both.
        examples: How many were run.
        outputs: Differences from the desktop runtime.
    """

    status: Literal["measured"] = "measured"
    arena_bytes: int
    persistent_bytes: int
    non_persistent_bytes: int
    examples: int
    outputs: tuple[OutputDifference, ...]

    @property
    def max_lsb(self) -> float:
        """The largest difference of any output; NaN if one is."""
        worst = [output.max_lsb for output in self.outputs]
        return next((value for value in worst if value != value), max(worst, default=0.0))  # noqa: PLR0124 - NaN


VelaOutcome = Annotated[VelaFacts | ToolFailure, Field(discriminator="status")]
TflmOutcome = Annotated[TflmFacts | ToolFailure, Field(discriminator="status")]


class CandidateOnDevice(FrozenModel):
    """What the device's tools say of one candidate; None for tools that the profile does not declare.

    Attributes:
        name: The recipe's.
        sha256: Of the file that was given to the tools.
    """

    name: str
    sha256: str
    vela: VelaOutcome | None = None
    tflm: TflmOutcome | None = None

    @property
    def failures(self) -> tuple[ToolFailure, ...]:
        """Of the tools that could not take it."""
        return tuple(outcome for outcome in (self.vela, self.tflm) if isinstance(outcome, ToolFailure))

    @property
    def figures(self) -> dict[str, int]:
        """The figures that ML Metadata holds, by name with unit; those that are known."""
        vela = self.vela if isinstance(self.vela, VelaFacts) else None
        known = {
            "npu_cycles": vela.cycles if vela else None,
            "cpu_operators": len(vela.cpu_operators) if vela else None,
            "sram_bytes": vela.sram_bytes if vela else None,
            "flash_bytes": vela.flash_bytes if vela else None,
            "arena_bytes": self.tflm.arena_bytes if isinstance(self.tflm, TflmFacts) else None,
        }
        return {name: value for name, value in known.items() if value is not None}


class DeviceReport(FrozenModel):
    """What one device's tools say of all candidates that were converted, in the order of the pipeline file."""

    device: str
    candidates: tuple[CandidateOnDevice, ...]

    def of(self, name: str) -> CandidateOnDevice | None:
        """What is known of a candidate."""
        return next((candidate for candidate in self.candidates if candidate.name == name), None)
