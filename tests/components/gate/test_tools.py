"""Bounds against the facts of a device's tools, with unequal numbers on both sides."""

import math

import pytest

from components.facts.conversion import Converted, Inspection, OperatorUse, TensorFact
from components.facts.device import (
    CandidateOnDevice,
    CpuOperator,
    DeviceReport,
    OutputDifference,
    TflmFacts,
    ToolFailure,
    VelaFacts,
)
from components.facts.evaluation import CandidateReport, EvaluationReport, Latency, MetricValue, SliceResult
from components.facts.streaming import StateTensor, StreamingContract
from components.gate.policy import decide
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec
from pipelines.report.wording import in_words

VELA = {"kind": "vela", "accelerator": "ethos-u55-128", "system_config": "Ethos_U55_High_End_Embedded"}
SQRT = CpuOperator(name="Sqrt", output="root", reason="Unsupported opType")


def device(**bounds):
    base = {"name": "board", "device_class": "board", "description": "any", "schemes": ["static_wi8_ai8"]}
    return DeviceProfile.model_validate(base | {"evaluators": [VELA, {"kind": "tflm"}]} | bounds)


def vela(cycles=8000, sram=600, flash=7000, operators=6, cpu=()):
    return VelaFacts(
        accelerator="ethos-u55-128",
        system_config="Ethos_U55_High_End_Embedded",
        memory_mode="Shared_Sram",
        clock_hz=500e6,
        operators=operators,
        cpu_operators=cpu,
        compiled_bytes=9000,
        cycles=cycles,
        sram_bytes=sram,
        dram_bytes=None if sram is None else 0,
        flash_bytes=flash,
        macs=7752,
    )


def tflm(arena=2720, lsb=1.0):
    output = OutputDifference(output="y", lsb=0.1, max_lsb=lsb, differing=0.2)
    return TflmFacts(
        arena_bytes=arena,
        persistent_bytes=1984,
        non_persistent_bytes=368,
        examples=32,
        outputs=(output,),
        slices=(overall(0.9),),
    )


def overall(accuracy, examples=100, baseline=None):
    change = {} if baseline is None else {"accuracy": MetricValue(value=accuracy - baseline)}
    metrics = {"accuracy": MetricValue(value=accuracy)}
    return SliceResult(slice="overall", examples=examples, metrics=metrics, change=change)


def on_device(name="int8", sha256="digest of int8", vela=vela(), tflm=tflm()):  # noqa: B008
    return CandidateOnDevice(name=name, sha256=sha256, vela=vela, tflm=tflm)


def candidate(name="int8", size=1000, accuracy=0.9, ratio=0.5):
    nothing = {"weight_bytes": 0, "operators": (), "dtype_counts": {}, "inputs": (), "outputs": (), "weights": ()}
    inspection = Inspection(file_bytes=size, float_tensors=(), stateful=False, **nothing)
    return CandidateReport(
        recipe={"name": name, "scheme": "static_wi8_ai8"},
        outcome=Converted(inspection=inspection, seconds=1.0, peak_memory_bytes=1),
        sha256=f"digest of {name}",
        slices=(SliceResult(slice="overall", examples=100, metrics={"accuracy": MetricValue(value=accuracy)}),),
        latency=Latency(microseconds=100.0, ratio=ratio),
    )


def decision(profile, *facts, candidates=(candidate(),), prefer="smallest"):  # noqa: B008
    policy = GateSpec.model_validate({"metrics": [{"name": "accuracy", "at_least": 0.8}], "prefer": prefer})
    return decided(profile, facts, candidates, policy)


def decided(profile, facts, candidates, policy, examples=100, baseline=0.9):
    """TensorFlow Lite Micro ran `examples` of 100 examples."""
    report = EvaluationReport(baseline_slices=(overall(0.9),), baseline_bytes=4000, candidates=candidates)
    there = DeviceReport(device="board", candidates=facts, baseline_slices=(overall(baseline, examples),))
    return decide(report, profile, policy, False, there)


def check(profile, facts):
    (only,) = decision(profile, facts).candidates[0].checks[1:-1]
    return in_words(only)


def reason(found):
    return in_words(found.candidates[0].reasons[0])


@pytest.mark.parametrize(
    ("bound", "met", "missed", "what", "measured"),
    [
        ("max_npu_cycles", 8000, 7999, "NPU cycles", "8,000"),
        ("max_sram_bytes", 600, 599, "SRAM bytes", "600"),
        ("max_flash_bytes", 7000, 6999, "flash bytes", "7,000"),
        ("max_arena_bytes", 2720, 2719, "arena bytes", "2,720"),
        ("max_tflm_lsb", 1.0, 0.99, "difference in LSB", "1 over 32 examples"),
    ],
)
def test_figure_passes_at_its_bound_and_fails_above_it(bound, met, missed, what, measured):
    for limit, verdict in ((met, "pass"), (met * 2, "pass"), (missed, "fail")):
        found = check(device(**{bound: limit}), on_device())
        assert (found.what, found.where, found.verdict) == (what, "board", verdict)
        assert (found.bound, found.measured) == (f"at most {limit:,}", measured)


def test_operators_on_the_cpu_are_counted_and_reported_with_their_reason():
    facts = on_device(vela=vela(cpu=(SQRT, SQRT)))
    assert check(device(max_cpu_operators=2), facts).verdict == "pass"
    found = check(device(max_cpu_operators=1), facts)
    assert (found.verdict, found.bound) == ("fail", "at most 1")
    assert found.measured == "2 of 6 (Sqrt: Unsupported opType)"
    assert check(device(max_cpu_operators=0), on_device()).measured == "0 of 6"
    assert check(device(max_npu_cycles=9000), facts).measured == "8,000 (without 2 operators on the CPU)"


def test_no_figure_at_all_does_not_pass_for_a_good_one():
    nothing = on_device(vela=vela(cycles=None, sram=None, flash=None, operators=1, cpu=(SQRT,)))
    for bound in ("max_npu_cycles", "max_sram_bytes", "max_flash_bytes"):
        found = check(device(**{bound: 1 << 30}), nothing)
        assert (found.verdict, found.measured) == ("fail", "no operator runs on the NPU")
    assert check(device(max_tflm_lsb=100), on_device(tflm=tflm(lsb=math.nan))).verdict == "fail"


def test_tool_that_cannot_take_a_file_fails_it_and_one_that_was_stopped_says_nothing():
    refused = ToolFailure(cause="refused", message="no kernel.", remedy="another scheme")
    found = check(device(), on_device(tflm=refused))
    assert (found.what, found.verdict) == ("TensorFlow Lite Micro", "fail")
    assert found.measured == "refused: no kernel. Remedy: another scheme"
    stopped = ToolFailure(cause="timed_out", message="after 1 s.", remedy="wait", transient=True)
    result = decision(device(), on_device(vela=stopped))
    assert reason(result).what == "Vela"
    assert result.verdict == "not_enough_data" and result.chosen is None


@pytest.mark.parametrize(("mean", "verdict"), [(32.0, "pass"), (32.5, "fail"), (math.nan, "fail")])
def test_gross_difference_fails_without_a_bound_and_under_a_lax_one(mean, verdict):
    output = OutputDifference(output="y", lsb=0.1, max_lsb=228, differing=1.0, mean_lsb=mean, gross_lsb=32.0)
    facts = on_device(tflm=tflm().model_copy(update={"outputs": (output,)}))
    for profile in (device(), device(max_tflm_lsb=255)):
        result = decision(profile, facts)
        assert result.verdict == verdict
        if verdict == "fail":
            assert len(result.candidates[0].reasons) == 1
            assert reason(result).what == "output y on TensorFlow Lite Micro"
            assert reason(result).bound == "at most 32 LSB from the desktop runtime on average"
            assert reason(result).measured == f"{mean:.4g} over 32 examples"


def test_facts_that_are_missing_or_of_another_file_bless_nothing():
    assert decision(device()).verdict == "not_enough_data"
    assert reason(decision(device(), on_device(name="other"))).measured == "none for this candidate"
    other = decision(device(), on_device(sha256="digest of other"))
    assert other.verdict == "fail"
    assert reason(other).measured == "its tools ran on digest of other"
    assert decision(device(), on_device(vela=None)).verdict == "not_enough_data"
    assert decision(device(evaluators=[])).verdict == "pass"


def test_fastest_goes_by_the_devices_cost_model_where_it_has_one():
    candidates = (candidate("a", ratio=0.1), candidate("b", ratio=0.9), candidate("c", ratio=0.01))
    facts = (
        on_device("a", "digest of a", vela=vela(cycles=900)),
        on_device("b", "digest of b", vela=vela(cycles=800)),
        # Fewest cycles, for its work is done by the CPU.
        on_device("c", "digest of c", vela=vela(cycles=10, cpu=(SQRT,))),
    )
    with_vela = decision(device(), *facts, candidates=candidates, prefer="fastest")
    assert with_vela.chosen == "b"
    assert with_vela.why == "b is the fastest of 3 candidates that pass (800 NPU cycles)"
    alone = decision(device(), facts[2], candidates=candidates[2:], prefer="fastest")
    assert alone.why == "c is the only candidate that passes (10 NPU cycles, 1 operators on the CPU)"
    timed = [facts.model_copy(update={"vela": None}) for facts in facts]
    without = device(evaluators=[{"kind": "tflm"}])
    assert decision(without, *timed, candidates=candidates, prefer="fastest").chosen == "c"


DROP = GateSpec.model_validate({"metrics": [{"name": "accuracy", "max_drop_from_baseline": 0.02}]})


def ran(accuracy, examples, baseline=0.9):
    facts = tflm().model_copy(update={"slices": (overall(accuracy, examples, baseline),)})
    return on_device(tflm=facts)


def metric_checks(result):
    checks = [check for check in result.candidates[0].checks if "accuracy" in check.quantity]
    return {check.quantity: (check.verdict, pytest.approx(check.measured)) for check in checks}


@pytest.mark.parametrize(("there", "verdict"), [(0.881, "pass"), (0.879, "fail")])
def test_drop_is_that_of_the_devices_runtime_if_it_ran_all_examples(there, verdict):
    # The desktop's outputs are worse than the bound allows, and do not count.
    on_desktop = candidate().model_copy(update={"slices": (overall(0.85, 100, 0.9),)})
    result = decided(device(), (ran(there, 100),), (on_desktop,), DROP)
    assert metric_checks(result) == {"change of accuracy on TensorFlow Lite Micro": (verdict, there - 0.9)}
    assert result.verdict == verdict


@pytest.mark.parametrize(("here", "there", "verdict"), [(0.9, 0.84, "pass"), (0.9, 0.82, "fail"), (0.87, 0.85, "fail")])
def test_bound_holds_under_both_runtimes_if_the_device_ran_only_some_examples(here, there, verdict):
    # On the first 40 examples, the baseline has 0.85.
    on_desktop = candidate().model_copy(update={"slices": (overall(here, 100, 0.9),)})
    result = decided(device(), (ran(there, 40, 0.85),), (on_desktop,), DROP, examples=40, baseline=0.85)
    assert metric_checks(result) == {
        "change of accuracy": ("pass" if here > 0.88 else "fail", here - 0.9),
        "change of accuracy on TensorFlow Lite Micro": ("pass" if there > 0.83 else "fail", there - 0.85),
    }
    assert result.verdict == verdict


def test_most_accurate_is_most_accurate_on_the_device():
    candidates = tuple(
        candidate(name).model_copy(update={"slices": (overall(value),)}) for name, value in (("a", 0.95), ("b", 0.9))
    )
    facts = tuple(
        ran(value, 100).model_copy(update={"name": name, "sha256": f"digest of {name}"})
        for name, value in (("a", 0.89), ("b", 0.91))
    )
    policy = GateSpec.model_validate({"metrics": [{"name": "accuracy", "at_least": 0.8}], "prefer": "most_accurate"})
    result = decided(device(), facts, candidates, policy)
    assert result.chosen == "b" and "0.91" in result.why


def test_difference_of_many_steps_passes_if_the_metric_holds():
    # MLCommons' keyword spotter: 12 steps apart, and .9139 instead of .9154.
    facts = ran(0.9139, 100, 0.9154).tflm.model_copy(update={"outputs": tflm(lsb=12).outputs})
    on_desktop = candidate().model_copy(update={"slices": (overall(0.9154, 100, 0.9154),)})
    result = decided(device(), (on_device(tflm=facts),), (on_desktop,), DROP, baseline=0.9154)
    assert result.verdict == "pass"
    bounded = decided(device(max_tflm_lsb=8), (on_device(tflm=facts),), (on_desktop,), DROP, baseline=0.9154)
    assert [check.quantity for check in bounded.candidates[0].reasons] == ["difference in LSB"]


def test_metric_that_the_devices_runtime_did_not_measure_passes_nothing():
    facts = on_device(tflm=tflm().model_copy(update={"slices": ()}))
    assert decision(device(), facts).verdict == "not_enough_data"


def with_file(**changes):
    outcome = candidate().outcome
    inspection = outcome.inspection.model_copy(update=changes)
    return candidate().model_copy(update={"outcome": outcome.model_copy(update={"inspection": inspection})})


# The input of MLPerf Tiny's keyword spotter.
PINNED = {"scale": 0.5847, "zero_point": 83}


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "verdict"),
    [
        ("INT8", 0.5847029, 83, "pass"),
        ("INT8", 0.586, 83, "fail"),
        ("INT8", 0.5847, 82, "fail"),
        ("INT16", 0.5847, 83, "fail"),
        ("FLOAT32", None, None, "fail"),
    ],
)
def test_input_has_the_quantization_that_the_firmware_fixes(dtype, scale, zero_point, verdict):
    tensor = TensorFact(name="x", shape=(1, 4), dtype=dtype, bytes=0, scales=1, scale=scale, zero_point=zero_point)
    for pinned in (PINNED, {**PINNED, "name": "x"}):
        profile = device(evaluators=[], pinned_inputs=[pinned])
        result = decision(profile, candidates=(with_file(inputs=(tensor,)),))
        assert result.verdict == verdict
        if verdict == "fail":
            assert reason(result).what == f"quantization of input {pinned.get('name', 0)}"
            assert reason(result).bound == "int8, scale 0.5847, zero point 83"
            assert reason(result).measured == f"{dtype.lower()}, scale {scale}, zero point {zero_point}"
    missing = decision(device(evaluators=[], pinned_outputs=[PINNED]), candidates=(with_file(inputs=(tensor,)),))
    assert (missing.verdict, reason(missing).measured) == ("fail", "0 such outputs")


@pytest.mark.parametrize(("zero_point", "verdict"), [(83, "pass"), (82, "fail")])
def test_pin_without_a_name_is_that_of_the_only_tensor_that_is_no_state(zero_point, verdict):
    def tensors(*names):
        held = {"shape": (1, 4), "dtype": "INT8", "bytes": 0, "scales": 1, "scale": 0.5847}
        return tuple(TensorFact(name=f"t_{name}", signature=name, zero_point=zero_point, **held) for name in names)

    state = StateTensor(input="state_h", output="next_h", shape=(1, 4), dtype="int8", scale=0.1, zero_point=0)
    contract = StreamingContract(frames=("x",), states=(state,), outputs=("y",))
    one = with_file(inputs=tensors("state_h", "x"), outputs=tensors("next_h", "y"))
    one = one.model_copy(update={"outcome": one.outcome.model_copy(update={"streaming": contract})})
    profile = device(evaluators=[], pinned_inputs=[PINNED], pinned_outputs=[PINNED])
    assert decision(profile, candidates=(one,)).verdict == verdict


@pytest.mark.parametrize(("version", "verdict"), [(3, "pass"), (4, "fail")])
def test_operator_is_not_newer_than_the_devices_runtime(version, verdict):
    uses = (OperatorUse(name="CONV_2D", version=version, count=2), OperatorUse(name="ADD", version=9, count=1))
    result = decision(device(evaluators=[], operator_versions={"CONV_2D": 3}), candidates=(with_file(operators=uses),))
    assert result.verdict == verdict
    if verdict == "fail":
        assert reason(result).measured == "newer: CONV_2D version 4 (at most 3)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operator_versions": {"CONV2D": 3}}, "'CONV2D' (did you mean 'CONV_2D'?)"),
        ({"operator_versions": {"CONV_2D": 0}}, "greater than or equal to 1"),
        ({"operators": ["ADD"], "operator_versions": {"CONV_2D": 3}}, "'CONV_2D' is not among `operators`"),
        ({"pinned_inputs": [{"scale": 0.5, "zero_point": 128}]}, "zero_point 128 is not an int8"),
        ({"pinned_inputs": [PINNED, PINNED]}, "if several tensors are pinned, name each"),
    ],
)
def test_contradictory_or_unknown_clause_is_refused(changes, message):
    with pytest.raises(ValueError, match="DeviceProfile") as caught:
        device(**changes)
    assert message in str(caught.value)
