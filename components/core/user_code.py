"""User code that neither returns nor raises an `Exception`: it exits, ends the process, or runs forever."""

from __future__ import annotations

import os
import posix
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from components.core.errors import SpecError

# Seconds that one call of user code may take; users can raise the limit.
LIMIT_VARIABLE = "EDGEMILL_USER_CODE_SECONDS"
_LIMIT_S = 120.0
# A bare `except` swallows the first alarm, and native code ignores every alarm.
_AGAIN_S, _GRACE_S = 1.0, 10.0
_BAD_INPUT = 2
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_COMPONENTS = str(Path(__file__).parents[1])

# All other functions of `os` that end their own process call one of these.
_ENDING = ("_exit", "execv", "execve")
_end_process = os._exit
# Called with the error before the process is ended because user code can't be stopped in any other way.
_LAST_WORDS: list[Callable[[SpecError], None]] = []


class _ProcessExit(BaseException):
    """User code called `os._exit`, or replaced this program with another one."""


class _OutOfTime(BaseException):
    """User code exceeded its time limit."""


def raised_at(error: BaseException) -> str | None:
    """File, function, and line of the innermost frame of the user's code, or None if there isn't one."""
    return _innermost(traceback.extract_tb(error.__traceback__))


def _innermost(frames: traceback.StackSummary) -> str | None:
    own = [frame for frame in frames if not frame.filename.startswith((*_LIBRARIES, "<", _COMPONENTS))]
    return f"{own[-1].filename}, {own[-1].name}, line {own[-1].lineno}" if own else None


@contextmanager
def exits_reported(where: str | None = None) -> Iterator[None]:
    """Raise a SpecError if user code exits, so that the process does not end as if the work were done.

    Ctrl-C and SIGTERM pass through because they don't come from user code.

    Args:
        where: The field of the pipeline file that names the code; None if it is unknown.

    Raises:
        SpecError: The block raised something that is not an `Exception`.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, _OutOfTime):
        raise
    except BaseException as error:
        raise exit_error(error, where) from error


def exit_error(error: BaseException, where: str | None) -> SpecError:
    """The error to raise for an exit of user code."""
    cause = str(error) if isinstance(error, _ProcessExit) else f"{type(error).__name__}({error})"
    return SpecError(
        f"user code exits with {cause} instead of returning",
        where=where,
        bound="code that returns, or raises an Exception",
        measured=raised_at(error),
        remedy="remove the exit from that line, or put it under `if __name__ == '__main__'`",
    )


@contextmanager
def process_kept() -> Iterator[None]:
    """Within this context, `os._exit` and `os.exec...` raise in this process, so that `exits_reported` can report them.

    In forked processes they behave as usual, as multiprocessing expects.
    """
    process = os.getpid()
    # `os` imports these from `posix`, which user code may call directly.
    before = {(module, name): getattr(module, name) for module in (os, posix) for name in _ENDING}

    def instead(module: ModuleType, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if os.getpid() == process:
                raise _ProcessExit(f"{module.__name__}.{name}({', '.join(map(repr, arguments[:1]))})")
            return before[module, name](*arguments)

        return call

    for module, name in before:
        setattr(module, name, instead(module, name))
    try:
        yield
    finally:
        for (module, name), function in before.items():
            setattr(module, name, function)


@contextmanager
def in_time(what: str, where: str, times: float = 1.0) -> Iterator[None]:
    """Stop user code that exceeds its time limit. Works only in the main thread and outside other such contexts.

    Args:
        what: The part of the user's code that runs, for the message.
        where: The field of the pipeline file that names it.
        times: Factor by which to multiply the limit.

    Raises:
        SpecError: The code took longer.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return
    limit, running, thread = limit_s() * times, True, threading.get_ident()

    def ring(_number: int, _frame: FrameType | None) -> None:
        if running:
            raise _OutOfTime

    def give_up() -> None:
        stack = traceback.extract_stack(sys._current_frames()[thread])
        error = _late(what, where, limit, _innermost(stack))
        for tell in reversed(_LAST_WORDS):
            tell(error)
        print(f"edgemill: {error}", file=sys.stderr, flush=True)
        _end_process(_BAD_INPUT)

    before = signal.signal(signal.SIGALRM, ring)
    last = threading.Timer(limit + min(limit, _GRACE_S), give_up)
    last.daemon = True
    last.start()
    signal.setitimer(signal.ITIMER_REAL, limit, _AGAIN_S)
    try:
        yield
    except _OutOfTime as error:
        running = False
        raise _late(what, where, limit, raised_at(error)) from error
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        last.cancel()
        signal.signal(signal.SIGALRM, before)


@contextmanager
def last_words(tell: Callable[[SpecError], None]) -> Iterator[None]:
    """Within this context, call `tell` before the process ends because user code can't be stopped otherwise."""
    _LAST_WORDS.append(tell)
    try:
        yield
    finally:
        _LAST_WORDS.remove(tell)


def limit_s() -> float:
    """Seconds that a call of user code may take."""
    given = os.environ.get(LIMIT_VARIABLE, "")
    try:
        seconds = float(given or _LIMIT_S)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX / 100:
        raise SpecError(
            "this is not a time limit",
            where=LIMIT_VARIABLE,
            bound="seconds above 0",
            measured=given,
            remedy="correct the environment variable, or remove it",
        )
    return seconds


def _late(what: str, where: str, limit: float, place: str | None) -> SpecError:
    return SpecError(
        f"{what} does not return",
        where=where,
        bound=f"{limit:g} s at most",
        measured=place,
        remedy=f"fix the code that loops or waits there; if it needs more time, set {LIMIT_VARIABLE}",
    )
