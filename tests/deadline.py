"""Fails a test that waits for what never comes, instead of letting the whole suite wait with it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

# Of the setup, the call, or the teardown of one test. The longest of the suite takes three minutes.
SUITE_SECONDS = 15 * 60.0
# Files that aren't called `test_*.py` run in lanes of their own, and count kills in thousands.
LANE_SECONDS = 120 * 60.0
# Cleanup can wait for the same thing again.
AGAIN_SECONDS = 60.0
_ATTEMPTS = 5

_SIGNAL = signal.SIGUSR1  # Edgemill uses SIGALRM itself.


def seconds_for(path: Path) -> float:
    """The limit for the tests of a file."""
    return SUITE_SECONDS if path.name.startswith("test_") else LANE_SECONDS


@contextmanager
def deadline(what: str, seconds: float, again: float = AGAIN_SECONDS) -> Iterator[None]:
    """Fail in the main thread once the block has taken so many seconds, and then again and again until it ends.

    This ends each wait of Python's: for a process, a socket, a lock, a thread, or a pipe. If nothing helps, native code
    is running, and the process ends: pytest-xdist then says which test it was, and goes on with the others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    main, ended = threading.get_ident(), threading.Event()

    def watch() -> None:
        for wait in (seconds, *[again] * _ATTEMPTS):
            if ended.wait(wait):
                return
            signal.pthread_kill(main, _SIGNAL)
        if not ended.wait(again):
            os._exit(1)

    def fail(_number: int, _frame: FrameType | None) -> None:
        if not ended.is_set():
            pytest.fail(f"{what} takes longer than {seconds:g} s: the last line of the traceback is what it waits for")

    before = signal.signal(_SIGNAL, fail)
    threading.Thread(target=watch, daemon=True, name="deadline").start()
    try:
        yield
    finally:
        ended.set()
        # Without one before, this one stays: the signal can still arrive, and ends a process that has no handler.
        if callable(before):
            signal.signal(_SIGNAL, before)
