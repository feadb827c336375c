"""Conversions in child processes under limits, so that a crash of the converter becomes a recorded failure."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from components.convert.child.entry import Child
from components.convert.job import MODEL_FILE, ConversionRequest, run
from components.core.child import LOG_FILE, how_it_ended, last_lines, stage_of
from components.facts.artifact_paths import OUTCOME_FILE
from components.facts.conversion import ConversionFailure, ConversionOutcome, Converted, outcome_of
from components.spec.convert import ConversionLimits
from components.upstream.fork_server import exit_code, fork_server, forked

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
_LAST_LINES = 5
# Information and warnings of TensorFlow's C++ loggers and of Python's.
_CHATTER = re.compile(r"\d{4}-\d\d-\d\d .*?: [IW] |[IW]\d{4} |INFO:|WARNING:")

# This fork server imports TensorFlow once and forks a child per conversion. multiprocessing's shared fork server isn't
# used, because its children import the caller's main module again.
_FORK_SERVER = fork_server(["components.convert.tensorflow.converter"])


def warm_up() -> None:
    """Start importing TensorFlow in a background process, which ends with this one. Returns immediately."""
    _FORK_SERVER.ensure_running()


class Ended(NamedTuple):
    """How a child process ended.

    Attributes:
        stopped: The limit that it exceeded; None if it ended by itself.
        peak: Peak resident memory, in bytes.
        code: Exit code; negative if a signal ended it.
    """

    stopped: Literal["timed_out", "out_of_memory"] | None
    peak: int
    code: int


def run_in_child(work: Callable[[Path], None], folder: Path, limits: ConversionLimits) -> Ended:
    """Do work that needs TensorFlow in a child process, which is killed if it exceeds its limits or this process ends.

    Args:
        work: Takes the folder, and writes its results there. It must be picklable.
        folder: A temporary folder.
        limits: Limits of wall time, and of the total resident memory of the child and its descendants.

    Raises:
        EOFError, OSError: The process that starts children ended.
    """
    preparation = {"sys_path": [entry or str(Path.cwd()) for entry in sys.path], "dir": str(Path.cwd())}
    with forked(_FORK_SERVER, preparation, Child(work, folder)) as (process, sentinel):
        stopped, peak = _watch(process, sentinel, limits)
        return Ended(stopped, peak, exit_code(sentinel))


def lacked_memory(code: int, log: str) -> bool:
    """Whether a child process died because the machine ran out of memory, by its exit code and last log lines."""
    # SIGKILL usually comes from the out-of-memory killer.
    return code == -signal.SIGKILL or "bad_alloc" in log or "MemoryError" in log


def run_conversion(request: ConversionRequest, limits: ConversionLimits) -> tuple[ConversionOutcome, bytes | None]:
    """Convert in a child process, which is killed if it exceeds its limits or if this process ends.

    Args:
        request: What to convert.
        limits: As for `run_in_child`.

    Returns:
        The outcome, and the content of the file if the conversion succeeded. A refusal, a crash, an abort, a timeout,
        excessive memory use, and a broken promise are ConversionFailures, never exceptions.
    """
    _LOG.info("%s: converting to %s", request.name, request.scheme.kind)
    with tempfile.TemporaryDirectory(prefix="edgemill-convert-") as name:
        folder = Path(name)
        outcome = _outcome(request, limits, folder)
        if isinstance(outcome, Converted):
            _LOG.info(
                "%s: converted: %d bytes, %.1f s, at most %d MiB",
                *(request.name, outcome.inspection.file_bytes, outcome.seconds, outcome.peak_memory_bytes >> 20),
            )
            return outcome, (folder / MODEL_FILE).read_bytes()
        _LOG.warning("%s: %s: %s. Remedy: %s", request.name, outcome.cause, outcome.message, outcome.remedy)
        return outcome, None


def _outcome(request: ConversionRequest, limits: ConversionLimits, folder: Path) -> ConversionOutcome:
    try:
        stopped, peak, code = run_in_child(functools.partial(run, request), folder, limits)
    except (EOFError, OSError) as error:
        message = f"the process that starts conversions ended: {error or type(error).__name__}"
        remedy = "run again; if the process ends again, find out what kills processes on this machine"
        return _failure(request, "crashed", message, remedy, transient=True)
    if stopped == "timed_out":
        message = (
            f"stopped after {limits.timeout_s:g} s while {stage_of(folder)} (at most {limits.timeout_s:g} s allowed)"
        )
        return _failure(request, stopped, message, "raise `convert.timeout_s`, or calibrate on fewer samples")
    if stopped == "out_of_memory":
        message = (
            f"stopped at {peak} bytes of memory while {stage_of(folder)} (at most {limits.memory_bytes} bytes allowed)"
        )
        remedy = "raise `convert.memory_bytes`, or use a scheme without calibration"
        return _failure(request, stopped, message, remedy)
    if (folder / OUTCOME_FILE).exists():
        outcome = outcome_of((folder / OUTCOME_FILE).read_bytes())
        return outcome.model_copy(update={"peak_memory_bytes": peak}) if isinstance(outcome, Converted) else outcome
    return _died(request, code, peak, folder)


def _watch(
    process: int, sentinel: int, limits: ConversionLimits
) -> tuple[Literal["timed_out", "out_of_memory"] | None, int]:
    """Wait for the child, and kill it at a limit. Returns the exceeded limit, and the peak memory in bytes."""
    deadline = time.monotonic() + limits.timeout_s
    peak = 0
    try:
        while True:
            peak = max(peak, sum(map(_resident, _family(process))))
            if peak > limits.memory_bytes:
                _kill(process)
                return "out_of_memory", peak
            remaining = deadline - time.monotonic()
            if wait([sentinel], timeout=max(0.0, min(_POLL_SECONDS, remaining))):
                return None, peak
            if remaining <= 0:
                _kill(process)
                return "timed_out", peak
    except BaseException:
        # If the wait is interrupted, no process may be left running.
        _kill(process)
        raise


def _kill(process: int) -> None:
    for member in _family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def _family(process: int) -> list[psutil.Process]:
    try:
        child = psutil.Process(process)
        return [*child.children(recursive=True), child]
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _died(request: ConversionRequest, code: int, peak: int, folder: Path) -> ConversionFailure:
    log, stage = last_log_lines(folder), stage_of(folder)
    if lacked_memory(code, log):
        message = (
            f"the machine ran out of memory while {stage}; {peak} bytes were in use before the process ended. {log}"
        )
        remedy = "give the machine more memory, or calibrate on fewer samples"
        return _failure(request, "out_of_memory", message, remedy)
    remedy = (
        "use another scheme, or replace recurrent layers that become loops: TensorFlow Lite crashes when it "
        "calibrates them"
        if code < 0
        else "fix the error in the last log lines; the task's decode() also runs in this process"
    )
    return _failure(request, "crashed", f"the process died of {how_it_ended(code)} while {stage}. {log}", remedy)


def _failure(
    request: ConversionRequest,
    cause: Literal["refused", "crashed", "out_of_memory", "timed_out", "broken_promise"],
    message: str,
    remedy: str,
    transient: bool = False,
) -> ConversionFailure:
    # The time and memory of a conversion depend on the load of the machine.
    transient = transient or cause in {"out_of_memory", "timed_out"}
    return ConversionFailure(
        scheme=request.scheme.kind, cause=cause, message=message.strip(), remedy=remedy, transient=transient
    )


def last_log_lines(folder: Path) -> str:
    """A sentence with the last informative lines in the log of `run_in_child`; empty if there are none."""
    with contextlib.suppress(FileNotFoundError):
        last = last_lines((folder / LOG_FILE).read_text(errors="replace"), _CHATTER, _LAST_LINES)
        return f"Its last log lines: {last}" if last else ""
    return ""
