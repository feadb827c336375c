"""Bounds on what the benchmark measures on a phone, and the preference for the fastest there."""

import pytest

from components.facts.device import OutputDifference, RuntimeFacts, RuntimeResult, ToolFailure
from components.facts.tools.phone import AdbFacts
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec
from pipelines.report.wording import in_words
from tests.components.gate.test_tools import candidate, decided, on_device

ADB = {"kind": "adb", "benchmark": "benchmark_model"}


def profile(**bounds):
    base = {"name": "phone", "device_class": "phone", "description": "any", "schemes": ["static_wi8_ai8"]}
    return DeviceProfile.model_validate(base | {"evaluators": [ADB]} | bounds)


def measured(latency=1000.0, deviation=100.0, memory=3_000_000, **twins):
    fixed = {"model": "Fake 9", "android": "14", "abi": "arm64-v8a", "delegate": "xnnpack", "threads": 1}
    return AdbFacts(
        **fixed,
        file_bytes=1000,
        benchmark_sha256="digest",
        runs=100,
        latency_us=latency,
        deviation_us=deviation,
        least_us=900,
        **{"twins_us": (latency, latency), **twins},
        init_us=50,
        memory_bytes=memory,
    )


def policy(**changes):
    return GateSpec.model_validate({"metrics": [{"name": "accuracy", "at_least": 0.8}], **changes})


def checks(device, facts, gate=None):
    there = on_device(vela=None, tflm=None).model_copy(update={"adb": facts})
    found = decided(device, (there,), (candidate(),), gate or policy())
    return {check.quantity: check for check in found.candidates[0].checks}


@pytest.mark.parametrize(
    ("bound", "quantity", "limit", "words"),
    [
        ("max_latency_us", "time on the phone", 1000, "1000 [980.4, 1019.6] over 100 inferences on Fake 9"),
        ("max_memory_bytes", "memory on the phone", 3_000_000, "3,000,000"),
    ],
)
def test_figure_passes_at_its_bound_and_fails_above_it(bound, quantity, limit, words):
    for value, verdict in ((limit, "pass"), (2 * limit, "pass"), (limit - 1, "fail")):
        found = checks(profile(**{bound: value}), measured())[quantity]
        assert found.verdict == verdict
        assert in_words(found).measured == words


@pytest.mark.parametrize(("limit", "verdict"), [(970, "fail"), (990, "not_enough_data"), (1010, "not_enough_data")])
def test_time_within_its_interval_of_the_bound_is_not_enough_data_unless_estimates_decide(limit, verdict):
    found = checks(profile(max_latency_us=limit), measured(), policy(decide_on="interval"))["time on the phone"]
    assert found.verdict == verdict
    by_estimate = checks(profile(max_latency_us=limit), measured())["time on the phone"]
    assert by_estimate.verdict == ("pass" if limit >= 1000 else "fail")


def test_memory_that_the_phone_does_not_report_does_not_pass():
    found = checks(profile(max_memory_bytes=1 << 40), measured(memory=None))["memory on the phone"]
    assert (found.verdict, found.note) == ("fail", "the phone does not report it")


def test_phone_that_was_not_there_says_nothing_about_the_candidate():
    away = ToolFailure(cause="unavailable", message="no device is connected", remedy="connect it", transient=True)
    found = checks(profile(), away)["benchmark on the phone"]
    assert found.verdict == "not_enough_data"
    assert found.measured == "unavailable: no device is connected Remedy: connect it"
    crashed = ToolFailure(cause="crashed", message="died.", remedy="another scheme")
    assert checks(profile(), crashed)["benchmark on the phone"].verdict == "fail"


def test_fastest_is_the_fastest_on_the_phone_and_not_on_this_machine():
    slow, quick = candidate("slow", ratio=0.1), candidate("quick", ratio=0.9)
    facts = tuple(
        on_device(name, f"digest of {name}", None, None).model_copy(update={"adb": measured(latency)})
        for name, latency in (("slow", 2000.0), ("quick", 1500.0))
    )
    found = decided(profile(), facts, (slow, quick), policy(prefer="fastest"))
    assert found.chosen == "quick"
    assert found.why == "quick is the fastest of 2 candidates that pass (1,500 µs on the phone)"
    assert found.fronts["phone time"] == ("quick",)


@pytest.mark.parametrize("bound", ["max_latency_us", "max_memory_bytes"])
def test_bound_without_the_evaluator_is_refused(bound):
    with pytest.raises(ValueError, match=rf"{bound} needs an evaluator that measures it: add `evaluators: .*kind: adb"):
        profile(**{bound: 10, "evaluators": []})


def test_runtime_that_refuses_the_file_fails_it_and_a_missing_one_says_nothing():
    device = profile(evaluators=[{"kind": "runtimes"}])
    away = ToolFailure(cause="unavailable", message="not installed.", remedy="install it", transient=True)
    refused = ToolFailure(cause="refused", message="no kernel.", remedy="another scheme")
    for outcome, verdict in ((away, "not_enough_data"), (refused, "fail")):
        rows = (RuntimeResult(name="arm64", outcome=outcome),)
        there = on_device(vela=None, tflm=None).model_copy(update={"runtimes": rows})
        (check,) = decided(device, (there,), (candidate(),), policy()).candidates[0].reasons
        assert (check.quantity, check.verdict) == ("runtime arm64", verdict)
    nothing = on_device(vela=None, tflm=None)
    (check,) = decided(device, (nothing,), (candidate(),), policy()).candidates[0].reasons
    assert (check.quantity, check.verdict) == ("runtimes", "not_enough_data")


def test_differences_between_runtimes_decide_nothing():
    output = OutputDifference(output="y", lsb=0.1, max_lsb=200, differing=1.0, mean_lsb=30, gross_lsb=50)
    rows = tuple(
        RuntimeResult(name=name, outcome=RuntimeFacts(examples=10, outputs=(output,))) for name in ("desktop", "arm64")
    )
    there = on_device(vela=None, tflm=None).model_copy(update={"runtimes": rows})
    assert decided(profile(evaluators=[{"kind": "runtimes"}]), (there,), (candidate(),), policy()).verdict == "pass"


def test_time_of_twins_that_disagree_is_not_judged_whatever_it_is():
    noisy = measured(latency=1.0, disagreement="two runs of the same file differed")
    found = checks(profile(max_latency_us=1000, max_memory_bytes=3_000_000), noisy)
    assert found["time on the phone"].verdict == "not_enough_data"
    assert "two runs of the same file differed" in str(in_words(found["time on the phone"]))
    assert found["memory on the phone"].verdict == "pass"
