"""Signals to a process alone that waits for processes it started, and a runner between that swallows what is raised."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.processes import running

_PROGRAM = """
import signal, subprocess, sys
from edgemill.exit_codes import Terminated, interruptible
if "ignoring" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    with interruptible() as interruption:
        child = subprocess.Popen("sleep 600 & wait", shell=True)
        print(child.pid, flush=True)
        try:
            try:
                child.wait()
            finally:
                child.wait()
        except BaseException:
            pass
        interruption.raise_if_it_came()
except KeyboardInterrupt as error:
    sys.exit(143 if isinstance(error, Terminated) else 130)
"""


@contextmanager
def started(*arguments: str) -> "Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]":
    """The program, and all that it started."""
    with running([sys.executable, "-c", _PROGRAM, *arguments]) as process:
        assert process.stdout is not None
        shell = psutil.Process(int(process.stdout.readline()))
        # If the process is killed at its limit, so is the shell.
        while not (sleeping := shell.children()):
            time.sleep(0.01)
        yield process, [shell, *sleeping]


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_ends_child_processes_and_outlives_what_swallows_it(sent: signal.Signals, status: int) -> None:
    with started() as (process, family):
        os.kill(process.pid, sent)
        assert process.wait() == status
        assert psutil.wait_procs(family, timeout=60)[1] == []


_FINALIZER = """
import sys, time
from edgemill.exit_codes import Terminated, interruptible
class Slow:
    def __del__(self):
        print("in a finalizer", flush=True)
        time.sleep(60)
try:
    with interruptible():
        slow = Slow()
        del slow
        time.sleep(60)
except KeyboardInterrupt as error:
    sys.exit(143 if isinstance(error, Terminated) else 130)
"""


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_in_a_finalizer_ends_what_follows_it(sent: signal.Signals, status: int) -> None:
    """Python ignores what a finalizer raises. A run continued to its push after such an interrupt."""
    with running([sys.executable, "-c", _FINALIZER]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in a finalizer\n"
        os.kill(process.pid, sent)
        assert process.wait() == status


def test_ignored_interrupt_stays_ignored() -> None:
    with started("ignoring") as (process, family):
        os.kill(process.pid, signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait() == 143
        assert psutil.wait_procs(family, timeout=60)[1] == []
