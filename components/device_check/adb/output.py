"""Parses the output of adb and `benchmark_model`.

The formats are those of adb's `devices` command and of `tensorflow/lite/tools/benchmark/benchmark_model.cc`, which
prints numbers with six significant digits, large ones as powers of ten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"[0-9.]+(?:[eE][+-]?[0-9]+)?"
_TIMES = re.compile(rf"Inference timings in us: Init: (?P<init>{_NUMBER}),.* Inference \(avg\): (?P<average>{_NUMBER})")
_SERIES = re.compile(r"\bcount=(?P<count>\d+) (?P<rest>.*)")
_MEMORY = re.compile(rf"Memory footprint delta from the start of the tool \(MB\): .*overall=(?P<overall>{_NUMBER})")
_ADB_VERSION = re.compile(r"^Version (?P<release>[0-9][0-9.]*)", re.MULTILINE)
_EXIT = "edgemill-exit-status="


@dataclass(frozen=True)
class Benchmark:
    """One run of `benchmark_model`.

    Attributes:
        runs: Number of inferences after the warm-up.
        average_us: Their mean time, in microseconds.
        deviation_us: Their standard deviation, in microseconds.
        least_us: The shortest of them, in microseconds.
        init_us: Time to load the model, in microseconds.
        memory_bytes: Memory growth of the process; None if the device doesn't report it.
    """

    runs: int
    average_us: float
    deviation_us: float
    least_us: float
    init_us: float
    memory_bytes: int | None


def benchmark_of(output: str) -> Benchmark | None:
    """Parse a log. None if it lacks a figure that every complete log has."""
    series = list(_SERIES.finditer(output))
    times, memory = _TIMES.search(output), _MEMORY.search(output)
    if times is None or len(series) < 2:  # The warm-up comes first.
        return None
    try:
        average, runs = float(times["average"]), int(series[-1]["count"])
        fields = dict(
            pair.split("=", 1) for pair in series[-1]["rest"].replace("(all same)", "").split() if "=" in pair
        )
        # A series of equal values has no `min` and no `std`.
        least, deviation = float(fields.get("min", average)), float(fields.get("std", 0.0))
        init = float(times["init"])
        used = None if memory is None else round(float(memory["overall"]) * 2**20)
    except ValueError:
        return None
    return Benchmark(runs, average, deviation, least, init, used) if runs and average > 0 else None


def states_of(listing: str) -> dict[str, str]:
    """Serial -> state (`device`, `unauthorized`, `offline`, `no permissions`, ...) from the output of `adb devices`."""
    rows = listing.partition("List of devices attached")[2].splitlines()
    found = [row.split(maxsplit=1) for row in rows if row.strip() and not row.startswith("*")]
    return {
        serial: next((name for name in ("no permissions",) if rest[0].startswith(name)), rest[0].split()[0])
        for serial, *rest in found
        if rest
    }


def adb_version_of(output: str) -> str | None:
    """The release of adb, such as `35.0.2`, from the output of `adb version`."""
    found = _ADB_VERSION.search(output)
    return found["release"] if found else None


def with_exit_status(command: str) -> str:
    """A shell command that also prints its exit status, which adb does not return from devices before Android 7."""
    return f"{command}; echo {_EXIT}$?"


def exit_status_of(output: str) -> tuple[str, int | None]:
    """The output of such a command without its last line, and the exit status; None if the connection ended before."""
    before, found, after = output.rpartition(_EXIT)
    status = after.strip()
    return (before, int(status)) if found and status.isdigit() else (output, None)
