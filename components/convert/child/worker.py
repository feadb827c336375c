"""Conversions in child processes under limits, so that a crash of the converter becomes a recorded failure."""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import sys
import tempfile
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Literal

import psutil
from pydantic import TypeAdapter

from components.convert.child.entry import LOG_FILE, Child
from components.convert.job import MODEL_FILE, OUTCOME_FILE, STAGE_FILE, ConversionRequest
from components.facts.conversion import ConversionFailure, ConversionOutcome, Converted
from components.spec.convert import ConversionLimits
from components.upstream.fork_server import exit_code, fork_server, forked

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
_LAST_LINES = 5
# Information and warnings of TensorFlow's C++ loggers and of Python's.
_CHATTER = re.compile(r"\d{4}-\d\d-\d\d .*?: [IW] |[IW]\d{4} |INFO:|WARNING:")
_OUTCOME: TypeAdapter[ConversionOutcome] = TypeAdapter(ConversionOutcome)

# This fork server imports TensorFlow once and forks a child per conversion. multiprocessing's shared fork server isn't
# used, because its children import the caller's main module again.
_FORK_SERVER = fork_server(["components.convert.tensorflow.converter"])


def warm_up() -> None:
    """Start importing TensorFlow in a background process, which ends with this one. Returns immediately."""
    _FORK_SERVER.ensure_running()


def run_conversion(request: ConversionRequest, limits: ConversionLimits) -> tuple[ConversionOutcome, bytes | None]:
    """Convert in a child process, which is killed if it exceeds its limits or if this process ends.

    Args:
        request: What to convert.
        limits: Limits of wall time, and of the total resident memory of the child and its descendants.

    Returns:
        The outcome, and the content of the file if the conversion succeeded. A refusal, a crash, an abort, a timeout,
        too much memory, and a broken promise are ConversionFailures, never exceptions.
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
    preparation = {"sys_path": [entry or str(Path.cwd()) for entry in sys.path], "dir": str(Path.cwd())}
    try:
        with forked(_FORK_SERVER, preparation, Child(request, folder)) as (process, sentinel):
            stopped, peak = _watch(process, sentinel, limits)
            code = exit_code(sentinel)
    except (EOFError, OSError) as error:
        return _failure(
            request,
            "crashed",
            f"the process that starts conversions ended: {error or type(error).__name__}",
            "run again; if the process ends again, find out what kills processes on this machine",
            transient=True,
        )
    if stopped is not None:
        return _stopped(request, limits, stopped, peak, folder)
    if (folder / OUTCOME_FILE).exists():
        outcome = _OUTCOME.validate_json((folder / OUTCOME_FILE).read_bytes())
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
        # If the wait is interrupted, no process may keep running.
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


def _stopped(
    request: ConversionRequest,
    limits: ConversionLimits,
    cause: Literal["timed_out", "out_of_memory"],
    peak: int,
    folder: Path,
) -> ConversionFailure:
    if cause == "timed_out":
        return _failure(
            request,
            cause,
            f"stopped after {limits.timeout_s:g} s while {_stage(folder)} (at most {limits.timeout_s:g} s allowed)",
            "raise `convert.timeout_s`, or calibrate on fewer samples",
        )
    return _failure(
        request,
        cause,
        f"stopped at {peak} bytes of memory while {_stage(folder)} (at most {limits.memory_bytes} bytes allowed)",
        "raise `convert.memory_bytes`, or use a scheme without calibration",
    )


def _died(request: ConversionRequest, code: int, peak: int, folder: Path) -> ConversionFailure:
    log = _last_lines(folder)
    stage = _stage(folder)
    if code == -signal.SIGKILL or "bad_alloc" in log or "MemoryError" in log:
        return _failure(
            request,
            "out_of_memory",
            f"the machine ran out of memory while {stage}; {peak} bytes were in use before the process ended. {log}",
            "give the machine more memory, or calibrate on fewer samples",
        )
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    remedy = (
        "use another scheme, or replace recurrent layers that become loops: TensorFlow Lite crashes when it "
        "calibrates them"
        if code < 0
        else "fix the error in the last log lines; the task's decode() also runs in this process"
    )
    return _failure(request, "crashed", f"the process died of {how} while {stage}. {log}", remedy)


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


def _stage(folder: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (folder / STAGE_FILE).read_text() or "starting"
    return "starting"


def _last_lines(folder: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        lines = (folder / LOG_FILE).read_text(errors="replace").splitlines()
        last = [line.strip() for line in lines if line.strip() and not _CHATTER.match(line)][-_LAST_LINES:]
        return f"Its last log lines: {' | '.join(last)[-1000:]}" if last else ""
    return ""
