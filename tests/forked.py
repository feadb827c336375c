"""Work in a forked process, which kills itself at one of its steps."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

from tests.processes import LIMIT_SECONDS

# Suites kill at some of the steps. Lanes kill at all of them.
EVERY_STEP = bool(os.environ.get("EDGEMILL_TEST_EVERY_STEP"))
# What changes or opens files, as Python's audit hooks name it.
_STEPS = {"open", "os.mkdir", "os.rename", "os.chmod", "os.remove", "os.rmdir", "os.symlink"}


def was_killed(work: Callable[[], object]) -> bool:
    """Do the work in a forked process, and wait for its end. Returns whether it was killed; it may not fail."""
    if (child := os.fork()) == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        finally:
            os._exit(0)
    late = threading.Event()

    def give_up() -> None:
        late.set()
        os.kill(child, signal.SIGKILL)

    timer = threading.Timer(LIMIT_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    try:
        _, status = os.waitpid(child, 0)
    finally:
        timer.cancel()
    assert not late.is_set(), f"the forked process was still there after {LIMIT_SECONDS:g} s"
    assert os.WIFSIGNALED(status) or not status, "the forked process failed: see its traceback above"
    return os.WIFSIGNALED(status)


def kill_at(below: str, step: int) -> None:
    """Kill this process with SIGKILL at its `step`th operation, from 1, on a path that contains `below`."""
    left = [step]

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event in _STEPS and below in str(arguments):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def killed_at(below: str, step: int, work: Callable[[], object]) -> bool:
    """Do the work in a forked process that kills itself at a step on files. Returns whether it reached that step."""

    def counted() -> None:
        kill_at(below, step)
        work()

    return was_killed(counted)
