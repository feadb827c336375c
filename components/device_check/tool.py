"""Tools in child processes with a time-out: what kills a tool is recorded, not suffered."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import components
from components.device_check import child
from components.facts.device import ToolFailure

_LOG_FILE = "log"
_LAST_LINES = 6
_ROOT = Path(components.__file__).resolve().parents[1]
# Vela's table of performance and its rulers say nothing about a failure.
_CHATTER = re.compile(r"Warning: Option |#+$|Traceback |  File |\s+[\^~]+$")


def run_tool(name: str, kind: str, folder: Path, timeout_s: float, options: Sequence[str] = ()) -> ToolFailure | str:
    """Run a tool on `folder / child.MODEL_FILE`; its process ends with this one.

    Args:
        name: What people call it.
        kind: What `child` calls it.
        folder: Holds the model; the tool writes into it.
        timeout_s: Wall time, in seconds; then it and its children are killed.
        options: For the tool.

    Returns:
        What it wrote to standard output and error, or why it did not come to its end.
    """
    command = [sys.executable, "-m", child.__name__, kind, str(folder), str(os.getpid()), *options]
    paths = [str(_ROOT), *(entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
    with (folder / _LOG_FILE).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            # A group of its own, so that what it starts can be killed with it.
            start_new_session=True,
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            return ToolFailure(
                cause="timed_out",
                message=f"{name} was stopped after {timeout_s:g} s while {_stage(folder)}",
                remedy="raise `timeout_s` of the evaluator in the device profile, or run on a quieter machine",
                transient=True,
            )
        except BaseException:
            # Interrupted while it waits: nothing may go on behind the user's back.
            _kill(process)
            raise
    said = (folder / _LOG_FILE).read_text(errors="replace")
    return said if code == 0 else _failure(name, code, folder, _last_lines(said))


def _failure(name: str, code: int, folder: Path, words: str) -> ToolFailure:
    if code == child.REFUSED:
        return ToolFailure(
            cause="refused",
            message=f"{name} refuses the file: {words or 'without saying why'}",
            remedy="take a recipe whose scheme and operators the device has, or remove the evaluator",
        )
    if code < 0:
        how = signal.Signals(-code).name
        # The out-of-memory killer's, mostly.
        transient = -code == signal.SIGKILL
    else:
        how, transient = f"exit code {code}", False
    return ToolFailure(
        cause="crashed",
        message=f"{name} died of {how} while {_stage(folder)}" + (f"; its last log lines: {words}" if words else ""),
        remedy="take another scheme for this model: on the device the same code may fail alike",
        transient=transient,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _stage(folder: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (folder / child.STAGE_FILE).read_text() or "starting"
    return "starting"


def _last_lines(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _CHATTER.match(line)]
    return " | ".join(lines[-_LAST_LINES:])[-1000:]
