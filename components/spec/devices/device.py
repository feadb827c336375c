"""Device profiles: capabilities and budgets of a class of devices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, field_validator, model_validator

from components.core.values import FrozenModel
from components.spec.devices.device_tools import (
    AdbEvaluator,
    DeviceEvaluator,
    RuntimesEvaluator,
    TflmEvaluator,
    VelaEvaluator,
)
from components.spec.devices.operators import BUILTIN_OPERATORS, highest_version
from components.spec.devices.pinned import PinnedTensor, Pins
from components.spec.scheme import SchemeKind


class DeviceProfile(FrozenModel):
    """Capabilities and budgets of one class of devices.

    Attributes:
        name: Unique name of the device, used in the report and as the name of the profile's file.
        device_class: Folder of the registry that these devices read.
        description: A description of the hardware, for the report.
        schemes: Numeric formats that the device has kernels for.
        operators: TFLite operators that the device supports: builtins by flatbuffer name (`CONV_2D`), others as
            `CUSTOM:<code>`. By default, all. A mapping of names to highest versions also sets `operator_versions`.
        operator_versions: Highest version of an operator that the device's runtime supports, by the operator's name. By
            default, all versions.
        pinned_inputs, pinned_outputs: Scale and zero point that the firmware expects. By default, any.
        integer_only: The device can't use a file with a float tensor.
        sparse_weights: The device's runtime reads weights that are stored sparse.
        max_file_bytes: Largest model file, in bytes. By default, no bound.
        max_gzip_bytes: Largest model file under gzip at level 9, as the registry serves it. By default, no bound.
        max_zstd_bytes: Largest model file under Zstandard at level 19. By default, no bound.
        max_latency_ratio: Longest host time, as a fraction of the float TFLite model's. By default, no bound.
        evaluators: The device's own tools that check candidates, at most one of each kind.
        max_npu_cycles: Maximum number of cycles of one inference on the NPU, as Vela estimates them.
        max_cpu_operators: Maximum number of operators that fall back to the CPU, according to Vela; 0 means that all
            run on the NPU.
        max_sram_bytes: Maximum SRAM of the part that runs on the NPU, according to Vela.
        max_flash_bytes: Maximum flash of the part that runs on the NPU, according to Vela.
        max_arena_bytes: Largest tensor arena under TensorFlow Lite Micro.
        max_tflm_lsb: Largest difference of an output under TensorFlow Lite Micro from the desktop runtime's, in least
            significant bits.
        max_latency_us: Longest mean time of one inference on the connected phone, in microseconds.
        max_memory_bytes: Largest growth of a process on the phone from loading and running the model, in bytes.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
    device_class: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
    description: str
    schemes: Annotated[tuple[SchemeKind, ...], Field(min_length=1)]
    operators: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    operator_versions: dict[str, Annotated[int, Field(ge=1)]] = {}
    pinned_inputs: tuple[PinnedTensor, ...] = ()
    pinned_outputs: tuple[PinnedTensor, ...] = ()
    integer_only: bool = False
    sparse_weights: bool = True
    max_file_bytes: Annotated[int, Field(gt=0)] | None = None
    max_gzip_bytes: Annotated[int, Field(gt=0)] | None = None
    max_zstd_bytes: Annotated[int, Field(gt=0)] | None = None
    max_latency_ratio: Annotated[FiniteFloat, Field(gt=0)] | None = None
    evaluators: tuple[DeviceEvaluator, ...] = ()
    max_npu_cycles: Annotated[int, Field(gt=0)] | None = None
    max_cpu_operators: Annotated[int, Field(ge=0)] | None = None
    max_sram_bytes: Annotated[int, Field(gt=0)] | None = None
    max_flash_bytes: Annotated[int, Field(gt=0)] | None = None
    max_arena_bytes: Annotated[int, Field(gt=0)] | None = None
    max_tflm_lsb: Annotated[FiniteFloat, Field(ge=0)] | None = None
    max_latency_us: Annotated[FiniteFloat, Field(gt=0)] | None = None
    max_memory_bytes: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _operators_with_versions(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(operators := given.get("operators"), Mapping):
            return given
        versions = given.get("operator_versions") or {}
        return {**given, "operators": tuple(operators), "operator_versions": {**operators, **versions}}

    @field_validator("operators", "operator_versions")
    @classmethod
    def _operators_exist(cls, names: Iterable[str] | None) -> Iterable[str] | None:
        wrong = []
        for name in names or ():
            if name in BUILTIN_OPERATORS or (name.startswith("CUSTOM:") and name != "CUSTOM:"):
                continue
            near = difflib.get_close_matches(name.upper(), sorted(BUILTIN_OPERATORS), n=1)
            wrong.append(f"{name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        if wrong:
            raise ValueError(f"neither a builtin operator of TFLite nor CUSTOM:<code>: {', '.join(wrong)}")
        return names

    @field_validator("operator_versions")
    @classmethod
    def _versions_exist(cls, versions: dict[str, int]) -> dict[str, int]:
        wrong = [
            f"{name} has versions up to {highest_version(name)}, not {version}"
            for name, version in versions.items()
            if name in BUILTIN_OPERATORS and version > highest_version(name)
        ]
        if wrong:
            raise ValueError(f"there are no such versions in TFLite: {'; '.join(wrong)}")
        return versions

    @model_validator(mode="after")
    def _fields_agree(self) -> DeviceProfile:
        if self.operators is not None and (lacking := sorted(set(self.operator_versions) - set(self.operators))):
            raise ValueError(f"operator_versions: {lacking[0]!r} is not among `operators`: add it there, or remove it")
        for tensors in (self.pinned_inputs, self.pinned_outputs):
            names = [tensor.name for tensor in tensors]
            if len(set(names)) < len(names) or (None in names and len(names) > 1):
                raise ValueError("if several tensors are pinned, name each, and pin each only once")
        return self

    @model_validator(mode="after")
    def _bounds_are_measured(self) -> DeviceProfile:
        kinds = [evaluator.kind for evaluator in self.evaluators]
        if len(set(kinds)) < len(kinds):
            raise ValueError(
                "evaluators: at most one of each kind; for another configuration, write another device profile"
            )
        for kind, fields in _MEASURED_BY.items():
            for field in fields:
                if getattr(self, field) is not None and kind not in kinds:
                    raise ValueError(
                        f"{field} needs an evaluator that measures it: add `evaluators: [{{kind: {kind}}}]`"
                    )
        if self.max_flash_bytes is not None and self.vela is not None and not self.vela.uses_flash:
            raise ValueError(
                f"max_flash_bytes has no effect: {self.vela.system_config} with {self.vela.memory_mode} keeps no "
                "weights in flash; remove it, or use another memory_mode"
            )
        return self

    @property
    def pins(self) -> Pins:
        """The pins for conversions for this device."""
        return Pins(inputs=self.pinned_inputs, outputs=self.pinned_outputs)

    @property
    def vela(self) -> VelaEvaluator | None:
        """The evaluator of this kind, if declared."""
        return next((each for each in self.evaluators if isinstance(each, VelaEvaluator)), None)

    @property
    def tflm(self) -> TflmEvaluator | None:
        """The evaluator of this kind, if declared."""
        return next((each for each in self.evaluators if isinstance(each, TflmEvaluator)), None)

    @property
    def adb(self) -> AdbEvaluator | None:
        """The evaluator of this kind, if declared."""
        return next((each for each in self.evaluators if isinstance(each, AdbEvaluator)), None)

    @property
    def runtimes(self) -> RuntimesEvaluator | None:
        """The evaluator of this kind, if declared."""
        return next((each for each in self.evaluators if isinstance(each, RuntimesEvaluator)), None)

    @property
    def runs_examples(self) -> bool:
        """Whether an evaluator runs examples, so that metrics are computed."""
        return self.tflm is not None or self.runtimes is not None


_MEASURED_BY = {
    "vela": ("max_npu_cycles", "max_cpu_operators", "max_sram_bytes", "max_flash_bytes"),
    "tflm": ("max_arena_bytes", "max_tflm_lsb"),
    "adb": ("max_latency_us", "max_memory_bytes"),
}
