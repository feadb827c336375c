"""Runs tools in child processes with a timeout. If a tool crashes, the failure is recorded and the run continues."""

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
from components.core.child import LOG_FILE, how_it_ended, last_lines, stage_of
from components.device_check import child
from components.device_check.exchange import NO_TOOL, REFUSED
from components.facts.device import ToolFailure

_LAST_LINES = 6
_ROOT = Path(components.__file__).resolve().parents[1]
# Log lines that don't explain a failure: Vela's warnings about options, rulers, and the frames of tracebacks.
_CHATTER = re.compile(r"Warning: Option |#+$|Traceback |  File |\s+[\^~]+$")


def run_tool(
    name: str, kind: str, folder: Path, timeout_s: float, options: Sequence[str] = (), python: str = sys.executable
) -> ToolFailure | str:
    """Run a tool on `folder / MODEL_FILE`. Its process ends with this one.

    Args:
        name: The tool's name in messages.
        kind: The tool's name in `child`.
        folder: Folder with the model. The tool writes its output there.
        timeout_s: Wall time in seconds after which the tool and its children are killed.
        options: The tool's options.
        python: The Python that runs the tool.

    Returns:
        Its standard output and error, or why it failed.
    """
    command = [python, "-m", child.__name__, kind, str(folder), str(os.getpid()), *options]
    paths = [str(_ROOT), *(entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
    with (folder / LOG_FILE).open("wb") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                # Start a new process group, so that the tool's children can be killed with it.
                start_new_session=True,
            )
        except OSError as error:
            return _no_tool(name, f"{python} cannot be started: {error.strerror}")
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            return ToolFailure(
                cause="timed_out",
                message=f"{name} was stopped after {timeout_s:g} s while {stage_of(folder)}",
                remedy="raise `timeout_s` of the evaluator in the device profile, or run on a quieter machine",
                transient=True,
            )
        except BaseException:
            # Interrupted while waiting: don't leave the tool running in the background.
            _kill(process)
            raise
    output = (folder / LOG_FILE).read_text(errors="replace")
    return output if code == 0 else _failure(name, code, folder, last_lines(output, _CHATTER, _LAST_LINES))


def _failure(name: str, code: int, folder: Path, last: str) -> ToolFailure:
    if code == NO_TOOL:
        return _no_tool(name, last)
    if code == REFUSED:
        return ToolFailure(
            cause="refused",
            message=f"{name} refuses the file: {last or 'it gives no reason'}",
            remedy="use a recipe whose scheme and operators the device supports, or remove the evaluator",
        )
    return ToolFailure(
        cause="crashed",
        message=f"{name} died of {how_it_ended(code)} while {stage_of(folder)}"
        + (f"; its last log lines: {last}" if last else ""),
        remedy="use another scheme for this model, because the same code may also fail on the device",
        # SIGKILL usually comes from the out-of-memory killer.
        transient=-code == signal.SIGKILL,
    )


def _no_tool(name: str, why: str) -> ToolFailure:
    return ToolFailure(
        cause="unavailable",
        message=f"{name} is not installed where it should run: {why}",
        remedy="install it there, or correct the evaluator in the device profile",
        transient=True,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
