"""Checks that this machine has the tools of a device profile, in the versions that the profile requires.

It doesn't import the tools, so that a pipeline can be checked before anything runs.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.core.errors import SpecError
from components.device_check.adb.output import adb_version_of
from components.spec.devices.device_tools import AdbEvaluator, DeviceEvaluator, RuntimesEvaluator

# Kind of evaluator -> the distribution of its tool, and its name in messages.
_DISTRIBUTIONS = {
    "vela": ("ethos-u-vela", "Vela"),
    "tflm": ("tflite-micro", "TensorFlow Lite Micro"),
    "runtimes": ("ai-edge-litert", "LiteRT"),
}
_ADB_SECONDS = 30
# An emulated Python needs a few seconds to start.
_PYTHON_SECONDS = 120
# The machine of an ELF file (`e_machine`) -> Android's ABI.
_MACHINES = {0xB7: "arm64-v8a", 0x28: "armeabi-v7a", 0x3E: "x86_64", 0x03: "x86", 0xF3: "riscv64"}


def tool_errors(device: str, evaluators: Iterable[DeviceEvaluator]) -> Iterator[SpecError]:
    """Yield an error for each tool that is missing, has a different version, or can't be used.

    Args:
        device: Name of the device profile.
        evaluators: Its evaluators.
    """
    for index, evaluator in enumerate(evaluators):
        where = f"device {device!r}: evaluators[{index}] ({evaluator.kind})"
        if isinstance(evaluator, AdbEvaluator):
            yield from _adb_errors(evaluator, where)
            continue
        if isinstance(evaluator, RuntimesEvaluator):
            yield from _python_errors(evaluator, where)
        distribution, name = _DISTRIBUTIONS[evaluator.kind]
        try:
            found = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            asked = evaluator.version or "any version"
            yield SpecError(
                f"{name} is not installed in this Python",
                where=where,
                bound=f"the package {distribution}, {asked}",
                measured="no such package",
                remedy="run `make setup`, which installs it, or remove the evaluator and the bounds that it measures",
            )
            continue
        if evaluator.version is not None and not matches(found, evaluator.version):
            yield _other_version(name, where, evaluator.version, found, f"install {distribution}=={evaluator.version}")


def matches(found: str, asked: str) -> bool:
    """Whether a version is the requested one, or belongs to it: 5.2.0 is a 5.2, but 5.20 isn't."""
    return found == asked or found.startswith((f"{asked}.", f"{asked}+", f"{asked}-"))


def _other_version(name: str, where: str, asked: str, found: str, install: str) -> SpecError:
    return SpecError(
        f"{name} has a different version than the profile requires",
        where=f"{where}.version",
        bound=asked,
        measured=found,
        remedy=f"{install}, or check the bounds of the profile with this version and correct `version`",
    )


def _python_errors(evaluator: RuntimesEvaluator, where: str) -> Iterator[SpecError]:
    for name, python in evaluator.others.items():
        if shutil.which(python) is None:
            yield SpecError(
                "there is no such executable",
                where=f"{where}.others.{name}",
                bound="a Python that has ai-edge-litert",
                measured=python,
                remedy="correct the path, which is relative to the profile, or remove the runtime; `make test-arm` "
                "makes one for arm64",
            )
        elif (lacking := _lacks_litert(python)) is not None:
            yield SpecError(
                "this Python cannot run LiteRT",
                where=f"{where}.others.{name}",
                bound="a Python that has ai-edge-litert",
                measured=f"{python}: {lacking}",
                remedy="install ai-edge-litert there, choose another Python, or remove the runtime",
            )


def _lacks_litert(python: str) -> str | None:
    """Why a Python has no LiteRT; None if it does."""
    asked = "import importlib.metadata; print(importlib.metadata.version('ai-edge-litert'))"
    try:
        done = subprocess.run(
            [python, "-c", asked],
            capture_output=True, text=True, errors="replace", timeout=_PYTHON_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
    return (last[:200] or f"it ended with status {done.returncode}") if done.returncode else None


def _adb_errors(evaluator: AdbEvaluator, where: str) -> Iterator[SpecError]:
    yield from _binary_errors(evaluator, where)
    executable = shutil.which(evaluator.adb)
    if executable is None:
        yield SpecError(
            "there is no such executable",
            where=f"{where}.adb",
            bound="Android Debug Bridge on PATH, or its path",
            measured=evaluator.adb,
            remedy="install Android's platform tools (Debian: apt-get install adb), or set `adb` of the evaluator",
        )
        return
    if evaluator.version is None:
        return
    try:
        done = subprocess.run(
            [executable, "version"], capture_output=True, text=True, errors="replace", timeout=_ADB_SECONDS, check=False
        )
        found, said = adb_version_of(done.stdout), done.stdout + done.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        found, said = None, str(error)
    if found is None:
        yield SpecError(
            "`adb version` names no version",
            where=f"{where}.adb",
            bound=f"Version {evaluator.version}",
            measured=" ".join(said.split())[:200] or "nothing",
            remedy="use Android's own adb",
        )
    elif not matches(found, evaluator.version):
        install = f"install platform tools {evaluator.version}"
        yield _other_version("adb", where, evaluator.version, found, install)


def _binary_errors(evaluator: AdbEvaluator, where: str) -> Iterator[SpecError]:
    path = Path(evaluator.benchmark)
    build = "build it (bazel build --config=android_arm64 //tensorflow/lite/tools/benchmark:benchmark_model)"
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError as error:
        yield SpecError(
            "the benchmark binary cannot be read",
            where=f"{where}.benchmark",
            bound="TensorFlow Lite's benchmark_model for the phone",
            measured=f"{path}: {error.strerror}",
            remedy=f"{build}, or correct the path, which is relative to the profile",
        )
        return
    little = head[:4] == b"\x7fELF" and head[5:6] == b"\x01"
    machine = _MACHINES.get(int.from_bytes(head[18:20], "little")) if little and len(head) == 20 else None
    if machine != evaluator.abi:
        yield SpecError(
            "the benchmark binary is not for the phone's ABI",
            where=f"{where}.benchmark",
            bound=f"an ELF executable for {evaluator.abi}",
            measured=f"one for {machine}" if machine else f"no executable that Android runs: {path}",
            remedy=f"{build}, or correct `abi`",
        )
