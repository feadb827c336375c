"""Times one candidate on a phone with TensorFlow Lite's `benchmark_model`.

The binary feeds random values, so it measures time and memory, not metrics
(https://github.com/tensorflow/tensorflow/tree/master/tensorflow/lite/tools/benchmark).
"""

from __future__ import annotations

import re
import secrets
import shlex
import signal
import tempfile
from pathlib import Path

from components.core.child import how_it_ended
from components.core.files import sha256_of_bytes
from components.device_check.adb.connection import AdbError, Phone, unavailable
from components.device_check.adb.output import Benchmark, benchmark_of
from components.device_check.adb.twins import agreeing
from components.facts.device import AdbOutcome, ToolFailure
from components.facts.tools.phone import AdbFacts
from components.spec.devices.device_tools import AdbEvaluator

_MODEL, _BINARY = "model.tflite", "benchmark_model"
_NOT_EXECUTABLE, _NOT_FOUND, _SIGNALS = 126, 127, 128
# The binary's messages for a file that its runtime does not accept.
_REFUSED = re.compile(
    r"Didn't find op|Failed to (?:initialize|construct|allocate)|Benchmarking failed|ERROR: (?P<why>.*)"
)


def measure_with_adb(content: bytes, evaluator: AdbEvaluator) -> AdbOutcome:
    """Run a TFLite file on the connected phone.

    Returns:
        Facts, or the reason why there are none.
    """
    try:
        phone = Phone(evaluator)
        abis = phone.require("getprop ro.product.cpu.abilist", "reading the phone's ABIs").strip().split(",")
        if evaluator.abi not in abis:
            raise unavailable(
                f"the phone runs binaries for {', '.join(filter(None, abis)) or 'no known ABI'}, not {evaluator.abi}",
                "set `abi` and `benchmark` of the evaluator to a binary for the phone",
            )
        # A separate folder, because another run can use the same phone.
        folder = f"{evaluator.folder.rstrip('/')}/edgemill-{secrets.token_hex(4)}"
        try:
            return _measured(phone, content, evaluator, folder)
        finally:
            phone.try_to(f"pkill -KILL -f {shlex.quote(folder)}/{_BINARY}; rm -rf {shlex.quote(folder)}")
    except AdbError as error:
        return error.failure


def _measured(phone: Phone, content: bytes, evaluator: AdbEvaluator, folder: str) -> AdbOutcome:
    binary, model = f"{folder}/{_BINARY}", f"{folder}/{_MODEL}"
    phone.require(f"mkdir -p {shlex.quote(folder)}", f"creating {folder}")
    with tempfile.TemporaryDirectory(prefix="edgemill-adb-") as name:
        local = Path(name) / _MODEL
        local.write_bytes(content)
        phone.push(local, model)
    phone.push(Path(evaluator.benchmark), binary)
    digest = sha256_of_bytes(content)
    found = phone.require(f"sha256sum {shlex.quote(model)}", "reading the copied file").split()
    if found[:1] != [digest]:
        raise unavailable(
            f"the copied file has a different digest (expected: {digest}; found: {' '.join(found[:1]) or 'none'})",
            "check the cable and the phone's storage, and run again",
        )
    phone.require(f"chmod 755 {shlex.quote(binary)}", "making the binary executable")
    options = {
        "graph": model,
        "num_threads": evaluator.threads,
        "num_runs": evaluator.runs,
        "use_xnnpack": str(evaluator.delegate == "xnnpack").lower(),
        "use_gpu": str(evaluator.delegate == "gpu").lower(),
        "use_nnapi": str(evaluator.delegate == "nnapi").lower(),
    }
    command = " ".join([shlex.quote(binary), *(f"--{name}={shlex.quote(str(one))}" for name, one in options.items())])

    def run() -> Benchmark:
        status, output = phone.shell(f"{command} 2>&1", "running the benchmark")
        if status:
            raise AdbError(_failure(status, output, evaluator))
        found = benchmark_of(output)
        if found is None:
            raise unavailable(
                f"the binary's output is not that of benchmark_model: {_end(output) or 'nothing'}",
                "use TensorFlow Lite's benchmark_model, version 2.3 or later, as `benchmark` of the evaluator",
            )
        return found

    twins = agreeing(run, lambda: phone.seconds_left)
    benchmark = twins.joined
    return AdbFacts(
        model=phone.require("getprop ro.product.model", "reading the phone's model").strip(),
        android=phone.require("getprop ro.build.version.release", "reading the version of Android").strip(),
        abi=evaluator.abi,
        delegate=evaluator.delegate,
        threads=evaluator.threads,
        file_bytes=len(content),
        benchmark_sha256=sha256_of_bytes(Path(evaluator.benchmark).read_bytes()),
        runs=benchmark.runs,
        latency_us=benchmark.average_us,
        deviation_us=benchmark.deviation_us,
        least_us=benchmark.least_us,
        twins_us=(twins.first.average_us, twins.second.average_us),
        attempts=twins.attempts,
        disagreement=twins.disagreement,
        init_us=benchmark.init_us,
        memory_bytes=benchmark.memory_bytes,
    )


def _failure(status: int, output: str, evaluator: AdbEvaluator) -> ToolFailure:
    # The shell's message for a file for a different processor, and the linker's for a missing library.
    if re.search(
        r"[Ee]xec format error|not executable: .*ELF|has unexpected e_machine|is 32-bit instead of 64", output
    ):
        raise unavailable(
            f"the phone can't execute {evaluator.benchmark}: {_end(output)}",
            f"use a binary for {evaluator.abi} (bazel build --config=android_arm64 for arm64-v8a)",
        )
    if "CANNOT LINK EXECUTABLE" in output:
        raise unavailable(f"the binary lacks a library: {_end(output)}", "use a statically linked benchmark_model")
    if status in (_NOT_EXECUTABLE, _NOT_FOUND):
        what = "not executable" if status == _NOT_EXECUTABLE else "not found"
        raise unavailable(
            f"the binary is {what} on the phone: {_end(output)}",
            "set `folder` of the evaluator to a folder whose files can be executed, such as /data/local/tmp",
        )
    if status > _SIGNALS:
        number = status - _SIGNALS
        return ToolFailure(
            cause="crashed",
            message=f"benchmark_model died of {how_it_ended(-number)} on the phone; its last log lines: {_end(output)}",
            remedy="use another scheme or `delegate`, because the same code may also fail in the application",
            # Android ends processes with SIGKILL if memory runs low.
            transient=number == signal.SIGKILL,
        )
    why = [found["why"] for found in _REFUSED.finditer(output) if found["why"]]
    return ToolFailure(
        cause="refused",
        message=f"benchmark_model refuses the file on the phone (exit status {status}): "
        f"{' | '.join(why[-2:])[:300] or _end(output) or 'it gives no reason'}",
        remedy="use a recipe whose operators the phone's runtime supports, or another `delegate`",
    )


def _end(output: str) -> str:
    return " | ".join(line.strip() for line in output.splitlines() if line.strip())[-300:]
