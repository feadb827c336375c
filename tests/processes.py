"""Processes that tests start. No test waits for one of them longer than some minutes, whatever happens."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LIMIT_SECONDS = 300.0
"""Below `faulthandler_timeout` of pyproject.toml, so that the test says what it waited for."""


def finished(command: Sequence[object], *, check: bool = False, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command that reads nothing. Returns its status and what it printed, as text.

    With `check`, a status other than 0 fails the test.
    """
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    done = subprocess.run(list(map(str, command)), check=False, timeout=LIMIT_SECONDS, **{**streams, **options})
    assert not check or done.returncode == 0, (done.args, done.stdout, done.stderr)
    return done


@contextmanager
def running(
    command: Sequence[object], limit: float = LIMIT_SECONDS, **options: Any
) -> Iterator["subprocess.Popen[str]"]:
    """Start a process in its own group, which is killed as a whole at the end, and after a limit.

    At the limit, everything that waits for the process or reads from it returns, and the test fails.
    """
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen(list(map(str, command)), **{**streams, **options})
    expired = threading.Event()

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def expire() -> None:
        expired.set()
        kill()

    timer = threading.Timer(limit, expire)
    timer.daemon = True
    timer.start()
    try:
        yield process
    except BaseException as error:
        if expired.is_set():
            raise AssertionError(f"{process.args} was killed after {limit:.0f} s") from error
        raise
    finally:
        timer.cancel()
        kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
