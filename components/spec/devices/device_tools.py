"""Tools of device manufacturers that check candidates, as a device profile declares them."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, ValidationInfo, field_validator, model_validator

from components.core.values import FrozenModel

# `--accelerator-config` of Arm's Vela, and the sections of the `Arm/vela.ini` that it ships, by family. They are
# constants so that a profile can be checked without Vela. A test compares them with the installed Vela.
ACCELERATORS = (
    *("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512"),
    *("ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048"),
)
# System configuration -> whether weights that are not in SRAM are in DRAM. Otherwise, they are in flash.
SYSTEM_CONFIGS = {
    "Ethos_U55_Deep_Embedded": False,
    "Ethos_U55_High_End_Embedded": False,
    "Ethos_U65_Embedded": False,
    "Ethos_U65_Mid_End": True,
    "Ethos_U65_High_End": True,
    "Ethos_U65_Client_Server": True,
    "Ethos_U85_SYS_Flash_Low": False,
    "Ethos_U85_SYS_Flash_High": False,
    "Ethos_U85_SYS_DRAM_Low": True,
    "Ethos_U85_SYS_DRAM_Mid": True,
    "Ethos_U85_SYS_DRAM_High": True,
}
SRAM_ONLY = "Sram_Only"
_DEDICATED = ("Dedicated_Sram", "Dedicated_Sram_256KB", "Dedicated_Sram_384KB", "Dedicated_Sram_512KB")
MEMORY_MODES = (SRAM_ONLY, "Shared_Sram", *_DEDICATED)


def _as_text(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"a version is text, because {value} and {value}0 are different versions: write '{value}'")
    return value


# Releases and parts of them: 5.2 means every 5.2.x.
Version = Annotated[
    str, BeforeValidator(_as_text, json_schema_input_type=str), Field(pattern=r"^[0-9][0-9A-Za-z.+-]*$")
]


class VelaEvaluator(FrozenModel):
    """Arm's compiler for Ethos-U NPUs. Its cost model says where operators run, and estimates cycles, SRAM, and flash.

    Attributes:
        accelerator: The NPU and its multiply-accumulate units per cycle, such as `ethos-u55-128`.
        system_config: Clock and memories: a section of the `Arm/vela.ini` that Vela ships.
        memory_mode: Where weights and activations are stored: another section of that file.
        timeout_s: Wall time limit of one compilation, in seconds.
        version: The version of Vela that the profile's bounds apply to, such as 5.2.0, or 5.2 for every 5.2.x. By
            default, any.
    """

    kind: Literal["vela"] = "vela"
    accelerator: str
    system_config: str
    memory_mode: str = "Shared_Sram"
    timeout_s: Annotated[FiniteFloat, Field(gt=0)] = 300.0
    version: Version | None = None

    @field_validator("accelerator")
    @classmethod
    def _accelerator_exists(cls, name: str) -> str:
        return _known(name, ACCELERATORS, "accelerator")

    @field_validator("system_config")
    @classmethod
    def _system_config_fits(cls, name: str, info: ValidationInfo) -> str:
        accelerator = info.data.get("accelerator")
        if accelerator is None:  # It already has an error.
            return _known(name, tuple(SYSTEM_CONFIGS), "system configuration")
        family = f"{accelerator.rpartition('-')[0].replace('-', '_')}_"
        own = tuple(known for known in SYSTEM_CONFIGS if known.lower().startswith(family))
        if name in SYSTEM_CONFIGS and name not in own:
            # Vela accepts any system configuration for any accelerator, and computes nonsense.
            raise ValueError(f"{name!r} is not for the accelerator {accelerator!r}: use one of {', '.join(own)}")
        return _known(name, own, "system configuration")

    @field_validator("memory_mode")
    @classmethod
    def _memory_mode_exists(cls, name: str) -> str:
        return _known(name, MEMORY_MODES, "memory mode")

    @model_validator(mode="after")
    def _fits_together(self) -> VelaEvaluator:
        if self.memory_mode in _DEDICATED and not SYSTEM_CONFIGS[self.system_config]:
            raise ValueError(
                f"memory_mode {self.memory_mode!r} keeps activations in DRAM, and {self.system_config!r} has none: "
                f"use {SRAM_ONLY} or Shared_Sram"
            )
        return self

    @property
    def uses_flash(self) -> bool:
        """Whether weights are stored in flash."""
        return self.memory_mode != SRAM_ONLY and not SYSTEM_CONFIGS[self.system_config]


class TflmEvaluator(FrozenModel):
    """TensorFlow Lite Micro, run on this machine: whether it accepts the file, the arena it needs, and its metrics.

    Attributes:
        examples: How many of the evaluation split's first examples to evaluate; `all` for the complete split.
        seconds: Time for the examples of one candidate, in seconds. When it is over, no more examples start, and the
            metrics cover the examples that every candidate has run.
        timeout_s: Wall time limit for one candidate, in seconds. It ends a candidate without figures.
        version: The version of the package `tflite-micro` that the profile's bounds apply to. By default, any.
    """

    kind: Literal["tflm"] = "tflm"
    examples: Annotated[int, Field(gt=0)] | Literal["all"] = 1000
    seconds: Annotated[FiniteFloat, Field(gt=0)] = 60.0
    timeout_s: Annotated[FiniteFloat, Field(gt=0)] = 120.0
    version: Version | None = None

    @model_validator(mode="after")
    def _ends_in_time(self) -> TflmEvaluator:
        if self.seconds >= self.timeout_s:
            raise ValueError(
                f"seconds ({self.seconds:g}) must be below timeout_s ({self.timeout_s:g}), after which a candidate is "
                "stopped without results: raise timeout_s"
            )
        return self


class AdbEvaluator(FrozenModel):
    """A phone that is connected through Android's `adb`: time and memory of TensorFlow Lite's `benchmark_model` on it.

    Attributes:
        benchmark: The binary `benchmark_model`, built for the phone. A relative path is relative to the profile.
        abi: The ABI that the binary is built for.
        serial: Serial number of the phone, as `adb devices` shows it. By default, the only connected phone.
        delegate: The delegate that runs the operators: `xnnpack`, `gpu`, `nnapi`, or `none` for TensorFlow Lite's own
            CPU kernels.
        threads: Threads of the runtime.
        runs: Number of timed inferences.
        folder: Folder on the phone for the files. It must allow execution.
        adb: The executable `adb`.
        timeout_s: Wall time limit for one candidate, in seconds, including the copying of files.
        version: The version of adb that the profile's bounds apply to, such as 35.0.2. By default, any.
    """

    kind: Literal["adb"] = "adb"
    benchmark: str
    abi: Literal["arm64-v8a", "armeabi-v7a", "x86_64", "x86", "riscv64"] = "arm64-v8a"
    serial: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]+$")] | None = None
    delegate: Literal["xnnpack", "gpu", "nnapi", "none"] = "xnnpack"
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    runs: Annotated[int, Field(ge=2)] = 50
    folder: Annotated[str, Field(pattern=r"^/[^\x00'\n]*$")] = "/data/local/tmp"
    adb: str = "adb"
    timeout_s: Annotated[FiniteFloat, Field(gt=0)] = 120.0
    version: Version | None = None


class RuntimesEvaluator(FrozenModel):
    """Other runtimes and kernels on this machine: how much outputs and metrics differ from the desktop runtime's.

    Attributes:
        kernels: Kernels of LiteRT (`ai-edge-litert`), in its own process without TensorFlow: `xnnpack`, `builtin`
            (without XNNPACK), and `reference`.
        others: Name -> another Python that has `ai-edge-litert`: of a different version, or for a different processor
            under an emulator. A relative path is relative to the profile.
        examples: How many of the evaluation split's first examples to evaluate; `all` for the complete split.
        seconds: Time for the examples of one candidate under one runtime, in seconds. When it is over, no more examples
            start, and the differences cover the examples that every runtime has run.
        timeout_s: Wall time limit for one candidate under one runtime, in seconds.
        version: The version of `ai-edge-litert` in this Python that the profile's bounds apply to. By default, any.
    """

    kind: Literal["runtimes"] = "runtimes"
    kernels: Annotated[tuple[Literal["xnnpack", "builtin", "reference"], ...], Field(min_length=1)] = (
        "xnnpack",
        "builtin",
        "reference",
    )
    others: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")], str] = {}
    examples: Annotated[int, Field(gt=0)] | Literal["all"] = 1000
    seconds: Annotated[FiniteFloat, Field(gt=0)] = 60.0
    timeout_s: Annotated[FiniteFloat, Field(gt=0)] = 120.0
    version: Version | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> RuntimesEvaluator:
        taken = {"desktop", *(f"litert_{kernels}" for kernels in ("xnnpack", "builtin", "reference"))}
        if wrong := sorted(taken & set(self.others)):
            raise ValueError(f"others: {wrong[0]!r} is the name of a runtime of this machine: choose another name")
        if len(set(self.kernels)) < len(self.kernels):
            raise ValueError("kernels: list each only once")
        return self


DeviceEvaluator = Annotated[
    VelaEvaluator | TflmEvaluator | AdbEvaluator | RuntimesEvaluator, Field(discriminator="kind")
]


def _known(name: str, known: tuple[str, ...], what: str) -> str:
    if name not in known:
        # Ignores case and the difference between - and _, the most common mistakes.
        plain = {each.lower().replace("_", "-"): each for each in known}
        near = difflib.get_close_matches(name.lower().replace("_", "-"), plain, n=1)
        hint = f"; did you mean {plain[near[0]]!r}?" if near else ""
        raise ValueError(f"there is no {what} {name!r}{hint} (one of {', '.join(known)})")
    return name
