"""Each clause of each shipped profile blocks a file that violates only this clause, with its own reason."""

from pathlib import Path

import pytest
import yaml

import pipelines
from components.device_check.installed import tool_errors
from components.facts.conversion import Converted, OperatorUse, TensorFact
from components.facts.device import CpuOperator, OutputDifference, TflmFacts, ToolFailure
from components.facts.evaluation import CandidateReport
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec
from tests.components.gate.test_tools import candidate, decided, on_device, overall, tflm, vela

PROFILES = {
    path.stem: DeviceProfile.model_validate(yaml.safe_load(path.read_text()))
    for path in sorted((Path(pipelines.__file__).parent / "devices").glob("*.yaml"))
}
POLICY = GateSpec.model_validate({"metrics": [{"name": "accuracy", "max_drop_from_baseline": 0.02}]})
SOUND = candidate().model_copy(update={"slices": (overall(0.9, 100, 0.9),)})
REFUSED = ToolFailure(cause="refused", message="no kernel.", remedy="another scheme")
GROSS = OutputDifference(output="y", lsb=0.1, max_lsb=228, differing=1.0, mean_lsb=33, gross_lsb=32)


def changed(one: CandidateReport, **changes) -> CandidateReport:
    """A candidate with another file."""
    assert isinstance(one.outcome, Converted)
    inspection = one.outcome.inspection.model_copy(update=changes)
    return one.model_copy(update={"outcome": one.outcome.model_copy(update={"inspection": inspection})})


def sound(profile: DeviceProfile) -> CandidateReport:
    """The sound candidate with the inputs that the profile pins."""
    pinned = tuple(quantized(one.scale, one.zero_point) for one in profile.pinned_inputs)
    return changed(SOUND, inputs=pinned) if pinned else SOUND


def quantized(scale: float, zero_point: int, dtype: str = "INT8") -> TensorFact:
    return TensorFact.model_construct(name="x", signature="x", dtype=dtype, scale=scale, zero_point=zero_point)


def operator(name: str, version: int = 1) -> tuple[OperatorUse, ...]:
    return (OperatorUse(name=name, version=version, count=1),)


def on_tflm(**changes) -> TflmFacts:
    return tflm().model_copy(update={"slices": (overall(0.9, 100, 0.9),), **changes})


def pinned_violations(profile: DeviceProfile, base: CandidateReport):
    for one in profile.pinned_inputs:
        for wrong in (
            quantized(one.scale * 1.01, one.zero_point),
            quantized(one.scale, one.zero_point - 1),
            quantized(one.scale, one.zero_point, "UINT8"),
        ):
            yield "pinned_inputs", changed(base, inputs=(wrong,)), vela(), on_tflm(), "quantization of input 0"


def violations(profile: DeviceProfile):
    """Field of the profile -> a candidate, what Vela says, what TFLM says, and the quantity that blocks it."""
    base = sound(profile)
    fine = (base, vela(), on_tflm())
    wrong = base.model_copy(update={"recipe": base.recipe.model_copy(update={"scheme": other_scheme(profile)})})
    yield "schemes", wrong, *fine[1:], "scheme"
    if profile.operators is not None:
        for unknown in ("DELEGATE", "CUSTOM:TFLite_Detection_PostProcess"):
            yield "operators", changed(base, operators=operator(unknown)), *fine[1:], "operators"
    if profile.operator_versions:
        name, highest = next(iter(profile.operator_versions.items()))
        yield "operator_versions", changed(base, operators=operator(name, highest + 1)), *fine[1:], "operator versions"
    yield from pinned_violations(profile, base)
    if profile.integer_only:
        yield "integer_only", changed(base, float_tensors=("logits",)), *fine[1:], "float tensors"
    if not profile.sparse_weights:
        weight = TensorFact.model_construct(name="w", sparse_encoded=True)
        yield "sparse_weights", changed(base, weights=(weight,)), *fine[1:], "sparse-encoded weights"
    if (limit := profile.max_file_bytes) is not None:
        yield "max_file_bytes", changed(base, file_bytes=limit + 1), *fine[1:], "file bytes"
    yield from tool_violations(profile, base)


def tool_violations(profile: DeviceProfile, base: CandidateReport):
    if profile.vela is not None:
        yield "evaluators", base, REFUSED, on_tflm(), "Vela"
    if (cycles := profile.max_npu_cycles) is not None:
        yield "max_npu_cycles", base, vela(cycles=cycles + 1), on_tflm(), "NPU cycles"
    if (fallen := profile.max_cpu_operators) is not None:
        cpu = (CpuOperator(name="Sqrt", output="root", reason="Unsupported opType"),) * (fallen + 1)
        yield "max_cpu_operators", base, vela(cpu=cpu), on_tflm(), "operators on the CPU"
    if (sram := profile.max_sram_bytes) is not None:
        yield "max_sram_bytes", base, vela(sram=sram + 1), on_tflm(), "SRAM bytes"
    if (flash := profile.max_flash_bytes) is not None:
        yield "max_flash_bytes", base, vela(flash=flash + 1), on_tflm(), "flash bytes"
    if profile.tflm is not None:
        yield "evaluators", base, vela(), REFUSED, "TensorFlow Lite Micro"
        yield "evaluators", base, vela(), on_tflm(outputs=(GROSS,)), "output y on TensorFlow Lite Micro"
        worse = on_tflm(slices=(overall(0.87, 100, 0.9),))
        yield "evaluators", base, vela(), worse, "change of accuracy on TensorFlow Lite Micro"
    if (arena := profile.max_arena_bytes) is not None:
        yield "max_arena_bytes", base, vela(), on_tflm(arena_bytes=arena + 16), "arena bytes"


def other_scheme(profile: DeviceProfile):
    kinds = ("float16", "dynamic_wi8_afp32", "static_wi8_ai16")
    kind = next(kind for kind in kinds if kind not in profile.schemes)
    return CandidateReport.model_validate(
        {"recipe": {"name": "other", "scheme": kind}, "outcome": SOUND.outcome.model_dump()}
    ).recipe.scheme


def judged(profile: DeviceProfile, facts: CandidateReport, on_vela, on_micro):
    there = on_device(vela=on_vela if profile.vela else None, tflm=on_micro if profile.tflm else None)
    return decided(profile, (there,), (facts,), POLICY)


@pytest.mark.parametrize("name", PROFILES)
def test_sound_file_passes_each_shipped_profile(name: str) -> None:
    assert judged(PROFILES[name], sound(PROFILES[name]), vela(), on_tflm()).verdict == "pass"


@pytest.mark.parametrize("name", PROFILES)
def test_each_violation_of_a_clause_is_blocked_with_its_own_reason_only(name: str) -> None:
    profile = PROFILES[name]
    found = [
        (quantity, [check.quantity for check in judged(profile, *facts).candidates[0].reasons])
        for _, *facts, quantity in violations(profile)
    ]
    assert found == [(quantity, [quantity]) for quantity, _ in found]


@pytest.mark.parametrize("name", PROFILES)
def test_every_clause_of_a_shipped_profile_has_a_violation(name: str) -> None:
    clauses = set(PROFILES[name].model_fields_set) - {"name", "device_class", "description"}
    assert "operator_versions" in clauses or PROFILES[name].vela is not None
    assert clauses == {field for field, *_ in violations(PROFILES[name])}


@pytest.mark.parametrize("name", PROFILES)
def test_another_version_of_a_tool_is_blocked_before_any_work_if_the_profile_names_one(name: str) -> None:
    evaluators = PROFILES[name].evaluators
    assert list(tool_errors(name, evaluators)) == []
    named = [(index, each) for index, each in enumerate(evaluators) if each.version is not None]
    assert bool(named) == name.startswith(("ethos", "cortex", "mlperf"))
    for index, each in named:
        others = [*evaluators[:index], each.model_copy(update={"version": "0.1"}), *evaluators[index + 1 :]]
        (error,) = tool_errors(name, others)
        assert error.where == f"device {name!r}: evaluators[{index}] ({each.kind}).version"


def test_profiles_are_shipped_for_phones_microcontrollers_and_accelerators() -> None:
    assert {profile.device_class for profile in PROFILES.values()} == {
        *("phone_cpu", "cortex_m4", "cortex_m7", "cortex_m55", "ethos_u55", "ethos_u65", "ethos_u85"),
        *("edge_tpu", "integer_dsp", "mlperf_tiny_keyword"),
    }
