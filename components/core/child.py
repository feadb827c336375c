"""Shared by a child process and its parent: the child's stage, its log, and its end with the parent.

Imports only the standard library, so that children start in a fraction of a second.
"""

import contextlib
import ctypes
import re
import signal
from pathlib import Path

# Files in the folder of a child process. The stage file records what the child was doing, in case it dies.
STAGE_FILE, LOG_FILE = "stage", "log"
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def enter(folder: Path, stage: str) -> None:
    """Record the next stage."""
    (folder / STAGE_FILE).write_text(stage)


def stage_of(folder: Path) -> str:
    """The last recorded stage; `starting` before the first one."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / STAGE_FILE).read_text() or "starting"
    return "starting"


def how_it_ended(code: int) -> str:
    """The cause of a process's end: the name of the signal if its exit code is negative, otherwise the exit code."""
    if code >= 0:
        return f"exit code {code}"
    known = {one.value: one.name for one in signal.Signals}
    return known.get(-code, f"signal {-code}")


def last_lines(log: str, chatter: re.Pattern[str], most: int) -> str:
    """The last informative lines of a log in one line of at most 1,000 characters; empty if there are none."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not chatter.match(line)]
    return " | ".join(lines[-most:])[-1000:]
