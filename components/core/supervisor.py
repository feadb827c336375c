"""A parent process that accepts an exit status of 0 only if the work reports that it is done.

Native code can end a process with any status, and Python can't prevent it: `_exit(0)` of the C
library, called by user code or by a library. Imports only the standard library, so that commands start fast.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from components.core.child import end_with_parent
from components.core.errors import RunFailedError

_FORWARDED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
# A signal to the whole process group reaches the child by itself, within microseconds.
_OF_GROUP_S = 0.1
# Called to write the status if the child ended without writing it.
_LEFT_BEHIND_S = 5.0
_FAILED = 1


def supervised(work: Callable[[], object]) -> NoReturn:
    """Do the work in a child process, and exit with its status, or with 1 if it ends with 0 before the work is done.

    Call this before any thread starts and before anything is printed. Signals to this process reach the child once,
    whether they are sent to this process alone or to both. The child ends with this process, and a signal that kills
    the child also kills this process.

    Args:
        work: Returns, or raises SystemExit, like the main function of a command.
    """
    # If the program that starts this process ignores this signal, this process also ignores it, and would wait forever.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Block before the fork, so that no signal is lost between the fork and the wait.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
    done, tell = os.pipe()
    received, receive = os.pipe()
    os.set_blocking(receive, False)
    os.set_blocking(received, False)
    parent = os.getpid()
    child = os.fork()
    if child:
        os.close(tell)
        os.close(receive)
        _exit_as(_status_of(child, received), done)
    os.close(done)
    os.close(received)
    end_with_parent()
    if os.getppid() != parent:  # The child ended before this call.
        raise SystemExit(_FAILED)
    # The C library's handler writes the number of each signal, even while native code runs.
    signal.set_wakeup_fd(receive, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        work()
    except SystemExit as end:
        os.write(tell, b".")
        _limit_threads(_FAILED if isinstance(end.code, str) else end.code or 0)
        raise
    os.write(tell, b".")
    _limit_threads(0)
    raise SystemExit(0)


def _limit_threads(status: int) -> None:
    """Give remaining threads, which Python waits for at exit, at most the time limit of user code."""
    if not any(map(_is_waited_for, threading.enumerate())):
        return
    from components.core.user_code import limit_s

    def end() -> None:
        time.sleep(limit_s())
        if left := [thread.name for thread in threading.enumerate() if _is_waited_for(thread)]:
            said = (
                "edgemill: the work is done, but threads of user code are still running, and are stopped: "
                f"{', '.join(left)}"
            )
            print(said, file=sys.stderr, flush=True)
            sys.stdout.flush()
            os._exit(status)

    threading.Thread(target=end, daemon=True).start()


def _is_waited_for(thread: threading.Thread) -> bool:
    return not thread.daemon and thread is not threading.main_thread()


def _status_of(child: int, received: int) -> int:
    """Wait for the child, and forward signals to it. Returns its wait status."""
    while True:
        info = signal.sigwaitinfo({*_FORWARDED, signal.SIGCHLD})
        if info.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
        # The terminal sends its signals (a positive code) to the whole group.
        elif info.si_code <= 0 and not _reaches(child, received, info.si_signo):
            os.kill(child, info.si_signo)
            _reaches(child, received, info.si_signo)  # Otherwise, its byte would count for the next signal.


def _reaches(child: int, received: int, number: int) -> bool:
    """Whether the child has received a signal by itself, or has ended."""
    deadline = time.monotonic() + _OF_GROUP_S
    while time.monotonic() < deadline:
        try:
            if number in os.read(received, 4096):
                return True
        except BlockingIOError:
            pass
        # Until it is waited for, it stays a zombie, so no other process gets its process ID.
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(_OF_GROUP_S / 20)
    return False


def _exit_as(status: int, done: int) -> NoReturn:
    # A process that the child left running, such as the one that writes the end of the status file, has the other end
    # open.
    ready, _, _ = select.select([done], [], [], _LEFT_BEHIND_S)
    complete = bool(ready) and os.read(done, 1) == b"."
    code = os.waitstatus_to_exitcode(status)
    if code < 0 and not complete:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.kill(os.getpid(), -code)
    if code == 0 and not complete:
        error = RunFailedError(
            "the process ended with status 0 before its work was done",
            bound="code that returns to its caller",
            measured="native code that ends the process",
            remedy="find what calls `exit` or `_exit` of the C library (the task through `ctypes`, or a library that "
            "it imports); the log ends where it happened",
        )
        print(f"edgemill: {error}", file=sys.stderr, flush=True)
        code = _FAILED
    # The child has flushed its own output, and this process has none.
    os._exit(max(code, 0))
