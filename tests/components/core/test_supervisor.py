"""How a supervised command ends, whatever ends it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest

from tests.processes import running

_PROGRAM = """
import ctypes, os, signal, sys, time
from components.core.supervisor import supervised

def work():
    {work}

supervised(work)
"""
_COUNTING = """
    def came(number, frame):
        os.write(1, b"%d\\n" % number)  # print would fail if the next signal came while it runs
    signal.signal(signal.SIGTERM, came)
    signal.signal(signal.SIGINT, came)
    print(os.getpid(), flush=True)
    time.sleep(600)
"""


def supervised(work: str, **options: object) -> "AbstractContextManager[subprocess.Popen[str]]":
    return running([sys.executable, "-c", _PROGRAM.format(work=work)], stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize(
    ("work", "status"),
    [
        ("pass", 0),
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('no')", 1),
        ("1 / 0", 1),
        ("os._exit(2)", 2),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.abort()", -signal.SIGABRT),
        ("ctypes.CDLL(None)._exit(0)", 1),
        ("ctypes.CDLL(None).exit(0)", 1),
        # A process that outlives the work, and holds what it inherited.
        ("os.fork() or time.sleep(1); ctypes.CDLL(None)._exit(0)", 1),
        # The work was done before.
        ("import atexit; atexit.register(lambda: ctypes.CDLL(None)._exit(0))", 0),
    ],
)
def test_status_is_that_of_the_work_and_zero_only_if_it_came_to_its_end(work: str, status: int) -> None:
    with supervised(work) as process:
        _, said = process.communicate()
    assert process.returncode == status
    assert ("the process ended with status 0 before its work was done" in said) == ("ctypes" in work and status == 1)


@pytest.mark.parametrize(
    ("seconds", "limit", "status", "stopped"), [(600, "0.5", 0, True), (600, "0.5", 3, True), (0.5, "60", 3, False)]
)
def test_threads_that_are_left_get_the_time_of_user_code(
    seconds: float, limit: str, status: int, stopped: bool
) -> None:
    work = f"import threading; threading.Thread(target=time.sleep, args=({seconds},), name='own').start()"
    environment = {**os.environ, "EDGEMILL_USER_CODE_SECONDS": limit}
    with supervised(f"{work}; sys.exit({status})", env=environment) as process:
        _, said = process.communicate()
    assert process.returncode == status
    assert ("threads of user code are still running, and are stopped: own" in said) == stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_signal_to_the_parent_or_to_both_reaches_the_work_once(
    number: signal.Signals, send: Callable[[int, int], None]
) -> None:
    with supervised(_COUNTING) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        for _ in range(2):
            send(process.pid, number)
            assert int(process.stdout.readline()) == number
        os.kill(child, signal.SIGKILL)
        assert process.communicate()[0] == ""
        assert process.returncode == -signal.SIGKILL


def test_what_the_work_left_behind_can_write_its_end_first(tmp_path: Path) -> None:
    path = tmp_path / "end"
    left = f"os.fork() or (time.sleep(0.5), open({str(path)!r}, 'w'), os._exit(0)); ctypes.CDLL(None)._exit(0)"
    with supervised(left) as process:
        assert process.wait() == 1
        assert path.exists()


def test_work_ends_with_its_parent() -> None:
    with supervised(_COUNTING) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
        process.wait()
        assert psutil.wait_procs([child], timeout=60)[1] == []


def test_unhandled_signal_ends_both() -> None:
    with supervised("print(os.getpid(), flush=True); time.sleep(600)") as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.terminate()
        assert process.wait() == -signal.SIGTERM
        assert psutil.wait_procs([child], timeout=60)[1] == []


@pytest.mark.parametrize("number", [signal.SIGCHLD, signal.SIGINT])
def test_status_is_that_of_the_work_if_the_caller_ignores_a_signal(number: signal.Signals) -> None:
    ignored = f"import signal; signal.signal({int(number)}, signal.SIG_IGN)"
    program = ignored + _PROGRAM.format(work="sys.exit(3)")
    with running([sys.executable, "-c", program], limit=60) as process:
        assert process.wait() == 3
