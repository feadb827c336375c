"""Kills a process at one of its operations on files."""

from __future__ import annotations

import os
import signal
import sys


def kill_at(below: str, step: int) -> None:
    """Kill this process with SIGKILL at its `step`th operation, from 1, on a path that contains `below`."""
    left = [step]

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event in {"open", "os.mkdir", "os.rename", "os.chmod", "os.remove"} and below in str(arguments):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
