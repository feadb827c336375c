"""SIGTERM as an exception, so that a run that systemd or a container runtime ends leaves as one does on Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Like Ctrl-C it is no `Exception`, so that no node takes it for a failure of its own."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` in the main thread on the first SIGTERM; a second one ends the process at once.

    In other threads, where Python lets nobody handle signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
