"""The contract with adb and `benchmark_model`, against a fake `adb` in every documented failure."""

import hashlib
import json
import re
import stat
import sys
from pathlib import Path

import pytest

from components.device_check.adb.benchmark import measure_with_adb
from components.device_check.adb.output import benchmark_of, states_of
from components.device_check.check import check_candidates
from components.device_check.installed import tool_errors
from components.facts.device import ToolFailure
from components.facts.tools.phone import AdbFacts
from components.facts.verified import verified
from components.spec.devices.device_tools import AdbEvaluator
from tests.components.device_check.test_check import write_candidate

# As TensorFlow 2.16 prints it (benchmark_model.cc). The mean of a second has six digits, as a power of ten.
LOG = """INFO: STARTING!
INFO: Num threads: [1]
INFO: Graph: [model.tflite]
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 0.016
INFO: Initialized session in 12.75ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=37 first=14744 curr=15520 min=13164 max=18295 avg=13764.3 std=967

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=64 first=14850 curr=13315 min=13105 max=15765 avg=13520.2 std=480 p5=13110 median=13500 p95=15000

INFO: Inference timings in us: Init: 12750, First inference: 14744, Warmup (avg): 13764.3, Inference (avg): 13520.2
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE
INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=3.25
"""
ELF = {"arm64-v8a": 0xB7, "armeabi-v7a": 0x28, "x86_64": 0x3E}
CONTENT = b"a model"


def elf(machine):
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(44)


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """Runs the evaluator with a scenario."""
    adb = tmp_path / "adb"
    adb.write_text(f"#!{sys.executable} -S\n" + Path(__file__).with_name("fake_adb.py").read_text())
    adb.chmod(adb.stat().st_mode | stat.S_IXUSR)
    binary = tmp_path / "benchmark_model"
    binary.write_bytes(elf(ELF["arm64-v8a"]))
    monkeypatch.setenv("FAKE_ADB", str(tmp_path))

    def measure(scenario, **fields):
        (tmp_path / "scenario.json").write_text(json.dumps({"log": LOG} | scenario))
        (tmp_path / "ran").unlink(missing_ok=True)
        evaluator = AdbEvaluator.model_validate({"adb": str(adb), "benchmark": str(binary), "timeout_s": 300} | fields)
        return measure_with_adb(CONTENT, evaluator)

    measure.folder, measure.adb, measure.binary = tmp_path, adb, binary
    measure.calls = lambda: [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    return measure


def test_time_memory_and_bytes_become_facts_and_the_phone_is_left_clean(phone):
    found = phone({})
    assert found == AdbFacts(
        model="Fake 9",
        android="14",
        abi="arm64-v8a",
        delegate="xnnpack",
        threads=1,
        file_bytes=len(CONTENT),
        benchmark_sha256=hashlib.sha256(phone.binary.read_bytes()).hexdigest(),
        runs=128,
        latency_us=13520.2,
        deviation_us=480,
        least_us=13105,
        twins_us=(13520.2, 13520.2),
        init_us=12750,
        memory_bytes=round(3.25 * 2**20),
    )
    assert found.latency_interval_us == pytest.approx(
        (13520.2 - 1.96 * 480 / 128**0.5, 13520.2 + 1.96 * 480 / 128**0.5)
    )
    assert [each for each in (phone.folder / "PHONE1").rglob("*") if each.is_file()] == []
    assert all(call[:2] == ["-s", "PHONE1"] for call in phone.calls()[1:])


def test_calls_are_those_of_the_documentation_in_its_order(phone):
    phone({})
    first, *calls = phone.calls()
    assert first == ["devices"]
    made = [re.sub(r"/data/local/tmp/edgemill-[0-9a-f]{8}", "FOLDER", " ".join(call[2:])) for call in calls]
    ends = "; echo edgemill-exit-status=$?"
    assert all(call.endswith(ends) for call in made if call.startswith("shell"))
    wanted = [
        r"shell getprop ro\.product\.cpu\.abilist",
        r"shell mkdir -p FOLDER",
        r"push \S+ FOLDER/model\.tflite",
        r"push \S+ FOLDER/benchmark_model",
        r"shell sha256sum FOLDER/model\.tflite",
        r"shell chmod 755 FOLDER/benchmark_model",
        *[r"shell FOLDER/benchmark_model --graph=FOLDER/model\.tflite .* 2>&1"] * 2,
        r"shell getprop ro\.product\.model",
        r"shell getprop ro\.build\.version\.release",
        r"shell pkill -KILL -f FOLDER/benchmark_model; rm -rf FOLDER",
    ]
    assert len(made) == len(wanted)
    for call, pattern in zip(made, wanted, strict=True):
        assert re.fullmatch(pattern, call.removesuffix(ends)), (call, pattern)


def slower(factor):
    """The log of a run whose mean time is longer by a factor."""
    return LOG.replace("avg=13520.2 ", f"avg={13520.2 * factor} ").replace(
        "Inference (avg): 13520.2", f"Inference (avg): {13520.2 * factor}"
    )


def test_twins_that_disagree_are_repeated_until_they_agree(phone):
    found = phone({"logs": [slower(1.2), LOG, slower(0.93), LOG, LOG, slower(1.01)]})
    assert (found.attempts, found.disagreement) == (3, "")
    assert found.twins_us == pytest.approx((13520.2, 13520.2 * 1.01))
    assert (found.runs, found.latency_us) == (128, pytest.approx(13520.2 * 1.005))
    low, high = found.latency_interval_us
    # The interval covers both.
    assert low < 13520.2 and high > 13520.2 * 1.01


def test_time_is_not_judged_if_the_twins_never_agree(phone):
    found = phone({"logs": [slower(1.2), LOG] * 9})
    assert (found.attempts, found.memory_bytes) == (5, round(3.25 * 2**20))
    assert "differed by a factor of 0.82 to 0.85 in attempt 5" in found.disagreement
    # Means that happen to be equal don't agree if they are uncertain.
    noisy = LOG.replace("std=480", "std=4800")
    assert phone({"log": noisy}).disagreement
    assert not phone({"log": LOG}).disagreement


def test_options_reach_the_binary(phone):
    phone({}, threads=4, runs=7, delegate="gpu", folder="/data/my folder")
    command, twin = (call[3] for call in phone.calls() if "--graph" in call[-1])
    assert command == twin
    assert "--num_threads=4 --num_runs=7 --use_xnnpack=false --use_gpu=true --use_nnapi=false 2>&1" in command
    assert command.startswith("'/data/my folder/edgemill-")


def benchmark_prints(text, status):
    return {"log": text, "status": status}


TWO = "PHONE1\tdevice\nPHONE2\tdevice\n"
# Name -> scenario, changes of the evaluator, cause, a part of the message, and a part of what to do.
FAILURES = {
    "no device": ({"devices": ""}, {}, "unavailable", "no device is connected", "USB debugging"),
    "unauthorized": (
        {"devices": "PHONE1\tunauthorized\n"},
        {},
        "unavailable",
        "'PHONE1' is unauthorized",
        "when asked",
    ),
    "offline": ({"devices": "PHONE1\toffline\n"}, {}, "unavailable", "'PHONE1' is offline", "adb reconnect offline"),
    "no permissions": (
        {"devices": "PHONE1\tno permissions (user in plugdev group; are your udev rules wrong?)\n"},
        {},
        "unavailable",
        "'PHONE1' is no permissions",
        "udev rules",
    ),
    "recovery": ({"devices": "PHONE1\trecovery\n"}, {}, "unavailable", "'PHONE1' is recovery", "start Android"),
    "several devices": (
        {"devices": TWO},
        {},
        "unavailable",
        "2 devices are connected: PHONE1 (device), PHONE2",
        "serial",
    ),
    "other serial": (
        {"devices": TWO},
        {"serial": "PHONE3"},
        "unavailable",
        "'PHONE3' is not connected (found: PHONE1 (device), PHONE2 (device))",
        "correct `serial`",
    ),
    "adb server": (
        {"server": "* failed to start daemon\nerror: cannot connect to daemon"},
        {},
        "unavailable",
        "adb's server doesn't start",
        "adb kill-server",
    ),
    "adb missing": (
        {},
        {"adb": "/no/such/adb"},
        "unavailable",
        "cannot be started: No such file",
        "apt-get install adb",
    ),
    "push fails": (
        {"push": "adb: error: failed to copy 'm' to '/data': remote Permission denied"},
        {},
        "unavailable",
        "doesn't allow writing to /data/local/tmp",
        "set `folder`",
    ),
    "push fails for an unknown reason": (
        {"push": "adb: error: something else"},
        {},
        "unavailable",
        "copying model.tflite to the phone failed: adb: error: something else",
        "adb logcat",
    ),
    "disk full": (
        {"push": "adb: error: failed to copy 'm' to '/data/m': remote No space left on device"},
        {},
        "unavailable",
        "the phone has no space left",
        "free up space",
    ),
    "read-only folder": (
        {"shell": {"mkdir": ["mkdir: '/x': Read-only file system\n", 1]}},
        {"folder": "/x"},
        "unavailable",
        "doesn't allow writing to /x",
        "set `folder`",
    ),
    "damaged copy": ({"damage": True}, {}, "unavailable", "has a different digest (expected: ", "check the cable"),
    "cable pulled during a push": (
        {"push": "adb: error: failed to get feature set: device 'PHONE1' not found"},
        {},
        "unavailable",
        "the connection to the phone was lost",
        "check the cable",
    ),
    "cable pulled during the benchmark": (
        {"shell": {"--graph": "lost"}},
        {},
        "unavailable",
        "the connection to the phone was lost",
        "check the cable",
    ),
    "wrong ABI of the phone": (
        {"abilist": "x86_64,x86"},
        {},
        "unavailable",
        "runs binaries for x86_64, x86, not arm64-v8a",
        "set `abi` and `benchmark`",
    ),
    "wrong ABI of the binary": (
        benchmark_prints("/system/bin/sh: benchmark_model: not executable: 64-bit ELF file\n", 126),
        {},
        "unavailable",
        "can't execute ",
        "a binary for arm64-v8a",
    ),
    "binary lacks a library": (
        benchmark_prints('CANNOT LINK EXECUTABLE "x": library "libneuralnetworks.so" not found\n', 1),
        {},
        "unavailable",
        "the binary lacks a library",
        "statically linked",
    ),
    "binary not executable": (
        {"shell": {"chmod": ["", 0]}},
        {},
        "unavailable",
        "the binary is not executable on the phone",
        "files can be executed",
    ),
    "binary missing on the phone": (
        benchmark_prints("/system/bin/sh: benchmark_model: inaccessible or not found\n", 127),
        {},
        "unavailable",
        "the binary is not found on the phone",
        "set `folder`",
    ),
    "unparsable output": (
        benchmark_prints("hello\n", 0),
        {},
        "unavailable",
        "is not that of benchmark_model: hello",
        "version 2.3 or later",
    ),
    "output without a run": (
        benchmark_prints(LOG.replace("count=64", "count=0"), 0),
        {},
        "unavailable",
        "is not that of benchmark_model",
        "benchmark_model",
    ),
    "time-out": (
        {"hang": "--graph"},
        {"timeout_s": 2},
        "timed_out",
        "stopped after 2 s while running the bench",
        "timeout_s",
    ),
    "crash": (
        benchmark_prints("INFO: STARTING!\nSegmentation fault\n", 139),
        {},
        "crashed",
        "died of SIGSEGV on the phone; its last log lines: INFO: STARTING! | Segmentation fault",
        "another scheme",
    ),
    "out of memory": (benchmark_prints("Killed\n", 137), {}, "crashed", "died of SIGKILL", "another scheme"),
    "operator missing": (
        benchmark_prints(
            "ERROR: Didn't find op for builtin opcode 'CUMSUM' version '1'.\nERROR: Benchmarking failed.\n", 1
        ),
        {},
        "refused",
        "(exit status 1): Didn't find op for builtin opcode 'CUMSUM' version '1'. | Benchmarking failed.",
        "another `delegate`",
    ),
}
FINAL = {"crash", "operator missing"}


@pytest.mark.parametrize("name", FAILURES)
def test_every_documented_failure_is_a_fact_with_its_reason_and_a_remedy(phone, name):
    scenario, fields, cause, message, remedy = FAILURES[name]
    found = phone(scenario, **fields)
    assert isinstance(found, ToolFailure)
    assert found.cause == cause
    assert message in found.message
    assert remedy in found.remedy
    assert found.transient == (name not in FINAL)


def test_files_are_removed_from_the_phone_after_a_failure_too(phone):
    phone({"hang": "--graph"}, timeout_s=2)
    assert [each for each in (phone.folder / "PHONE1").rglob("*") if each.is_file()] == []
    assert "pkill -KILL -f" in phone.calls()[-1][-1]


def test_log_of_equal_times_and_of_large_numbers_is_read():
    same = LOG.replace(
        "count=64 first=14850 curr=13315 min=13105 max=15765 avg=13520.2 std=480 p5=13110 median=13500 p95=15000",
        "count=64 curr=2000000 (all same)",
    ).replace("Inference (avg): 13520.2", "Inference (avg): 2e+06")
    found = benchmark_of(same.replace("Init: 12750", "Init: 1.275e+07"))
    assert (found.runs, found.average_us, found.deviation_us, found.least_us) == (64, 2e6, 0, 2e6)
    assert found.init_us == 1.275e7
    assert benchmark_of(LOG.replace("INFO: Memory", "INFO: Other")).memory_bytes is None


def test_devices_are_listed_with_their_states():
    listing = (
        "* daemon started successfully\nList of devices attached\nA\tdevice product:x\nB:5555\tno permissions; see\n\n"
    )
    assert states_of(listing) == {"A": "device", "B:5555": "no permissions"}
    assert states_of("adb: command not found") == {}


def errors(phone, **fields):
    (phone.folder / "scenario.json").write_text("{}")
    evaluator = AdbEvaluator.model_validate({"adb": str(phone.adb), "benchmark": str(phone.binary)} | fields)
    return [str(error) for error in tool_errors("my_phone", [evaluator])]


WHERE = "device 'my_phone': evaluators[0] (adb)"


def test_sound_tool_has_no_error_before_work(phone):
    assert errors(phone) == errors(phone, version="35.0.2") == errors(phone, version="35") == []


def test_other_version_of_adb_is_refused_before_work(phone):
    assert errors(phone, version="34.0.5") == [
        f"{WHERE}.version: adb has a different version than the profile requires "
        "(expected: 34.0.5; found: 35.0.2)"
        ". Remedy: install platform tools 34.0.5, or check the bounds of the profile with this version and correct "
        "`version`"
    ]
    assert "a different version" in errors(phone, version="3")[0]


def test_missing_adb_is_refused_before_work(phone):
    (found,) = errors(phone, adb="no-such-adb")
    assert found.startswith(f"{WHERE}.adb: there is no such executable (expected: Android Debug Bridge on PATH")
    assert "found: no-such-adb" in found


def test_executable_that_is_not_adb_is_refused_before_work_if_a_version_is_asked_for(phone):
    (found,) = errors(phone, adb="true", version="35")
    assert found.startswith(f"{WHERE}.adb: `adb version` names no version (expected: Version 35; found: nothing)")


@pytest.mark.parametrize("abi", ["armeabi-v7a", "x86_64"])
def test_binary_for_another_abi_is_refused_before_work(phone, abi):
    phone.binary.write_bytes(elf(ELF[abi]))
    (found,) = errors(phone)
    assert f"(expected: an ELF executable for arm64-v8a; found: one for {abi})" in found
    assert errors(phone, abi=abi) == []


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF"])
def test_file_that_is_no_executable_is_refused_before_work(phone, content):
    phone.binary.write_bytes(content)
    assert "found: no executable that Android runs" in errors(phone)[0]


def test_missing_binary_is_refused_before_work(phone):
    (found,) = errors(phone, benchmark="/no/benchmark_model")
    assert found.startswith(f"{WHERE}.benchmark: the benchmark binary cannot be read")
    assert "found: /no/benchmark_model: No such file or directory" in found


def test_each_candidate_is_timed_and_its_figures_reach_the_metadata(phone, tmp_path):
    phone({})
    content = verified(write_candidate(tmp_path / "int8", "int8", "static_wi8_ai8", CONTENT))
    evaluator = AdbEvaluator(adb=str(phone.adb), benchmark=str(phone.binary))
    (found,) = check_candidates("my_phone", (evaluator,), {"int8": content}, None)[0].candidates
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert found.figures == {"phone_latency_us": 13520, "phone_memory_bytes": round(3.25 * 2**20)}
    phone({"devices": ""})
    (found,) = check_candidates("my_phone", (evaluator,), {"int8": content}, None)[0].candidates
    assert found.failures == (found.adb,)
