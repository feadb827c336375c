"""Ends the command: exit statuses, errors (without a stack if they are EdgemillErrors), and signals."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from types import FrameType

from components.core import errors
from components.core.errors import EdgemillError
from components.core.user_code import exits_reported, process_kept


class ExitCode(IntEnum):
    """Exit status of every `edgemill` command."""

    OK = 0
    """Success. After `run`, every device has the best passing candidate in its registry."""
    NODE_FAILED = 1
    """A node failed, a metadata store, an object store, or a cluster could not be reached, or a registry could not be
    read."""
    BAD_INPUT = 2
    """The pipeline file, the data, the model, or the command line is wrong, such as the ID of a run, or the registry or
    the root cannot be written. The error is found before the first node, so nothing ran."""
    GATE_REFUSED = 3
    """The run is complete, but the gate of at least one device refused every candidate."""
    PUSH_STAGED = 4
    """The run is complete, but a registry was unreachable. The release of at least one device waits in the run, and
    `edgemill push` finishes the push."""
    INTERRUPTED = 130
    """Ctrl-C."""
    TERMINATED = 143
    """SIGTERM, which systemd and container runtimes send."""


class Terminated(KeyboardInterrupt):
    """SIGTERM was received. Like Ctrl-C, it is not an `Exception`, so no node reports it as its own failure."""


# Long enough for a finalizer to end.
_AGAIN_S = 0.05


class Interruption:
    """The signal that ended an `interruptible` block, if any."""

    def __init__(self) -> None:
        self._came: type[KeyboardInterrupt] | None = None
        self._unraisable_before = sys.unraisablehook

    def raise_if_it_came(self) -> None:
        """Re-raise a KeyboardInterrupt or Terminated that Beam turned into a failure of its node."""
        if self._came is not None:
            raise self._came

    def come(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: terminate child processes, and raise. A second signal ends the process at once."""
        signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, self._come_again)
        self._came = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        import psutil  # Imported here, to keep startup fast.

        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.terminate()
        raise self._came

    def repeat_if_ignored(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Raise again, a little later, an exception that Python ignores because of a finalizer or a native callback."""
        if self._came is not None and unraisable.exc_type is self._came:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            self._unraisable_before(unraisable)

    def _come_again(self, _number: int, _frame: FrameType | None) -> None:
        self.raise_if_it_came()


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Raise `Terminated` on SIGTERM and KeyboardInterrupt on SIGINT in the main thread, and end all child processes.

    Beam waits for its worker processes, which a signal to this process alone does not reach. In other threads, Python
    cannot handle signals, so nothing changes. Signals that the parent process set to be ignored stay ignored.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    handled = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
    alarm, unraisable = signal.getsignal(signal.SIGALRM), sys.unraisablehook
    for number in handled:
        signal.signal(number, interruption.come)
    sys.unraisablehook = interruption.repeat_if_ignored
    try:
        yield interruption
    finally:
        sys.unraisablehook = unraisable
        if signal.getsignal(signal.SIGALRM) is not alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
        for number, handler in handled.items():
            signal.signal(number, handler)


@contextmanager
def exit_on_error(report: Callable[[dict[str, object], ExitCode], None] | None = None) -> Iterator[None]:
    """Print an EdgemillError without its stack and exit with its status.

    Args:
        report: Called with the error, in the form of `EdgemillError.as_json`, and with the exit status.
    """

    def tell(error: dict[str, object], code: ExitCode) -> None:
        if report is not None:
            report(error, code)

    try:
        with exits_reported(), process_kept():
            yield
    except KeyboardInterrupt as error:
        code = interruption_of(error)
        remedy = "run it again: finished work comes from the cache"
        print(f"edgemill: {code.name.lower()}; {remedy}", file=sys.stderr)
        tell(errors.RunFailedError(code.name.lower(), remedy=remedy).as_json(), code)
        raise SystemExit(code) from None
    except Exception as error:
        if not isinstance(error, EdgemillError):
            # Compare names, because help and validation do not import ML Metadata.
            if type(error).__module__.startswith("ml_metadata"):
                from pipelines.storage.metadata_connection import store_error

                error = store_error(error, "--metadata")
            elif isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                error = _of_system(error)
            else:
                unforeseen = errors.RunFailedError(
                    f"{type(error).__name__}: {errors.summary_line(error)}",
                    remedy="report it with the stack, which is on standard error",
                )
                tell({**unforeseen.as_json(), "kind": type(error).__name__}, ExitCode.NODE_FAILED)
                raise
        print(f"edgemill: {error}", file=sys.stderr)
        tell(error.as_json(), exit_code_of(error))
        raise SystemExit(exit_code_of(error)) from None


def _of_system(error: OSError) -> EdgemillError:
    """The error for an operation that no other code explains, such as output to a full disk."""
    logging.getLogger(__name__).debug("the operating system refused an operation", exc_info=error)
    try:
        Path.cwd()
    except OSError:
        return errors.SpecError(
            "the working directory no longer exists",
            measured=os.environ.get("PWD"),
            remedy="change to an existing folder",
        )
    # A failed write doesn't say where.
    return errors.system_error(error, "the output of this command, or one of its files")


def interruption_of(error: KeyboardInterrupt) -> ExitCode:
    """The exit status of Ctrl-C or of SIGTERM."""
    return ExitCode.TERMINATED if isinstance(error, Terminated) else ExitCode.INTERRUPTED


def exit_code_of(error: Exception) -> ExitCode:
    """The exit status of an error. Python itself exits with 1 after an exception that is not an EdgemillError."""
    # A store that answers, or a root that can be read, but doesn't contain what the command line names.
    if isinstance(error, errors.UnknownRunError):
        return ExitCode.BAD_INPUT
    stores = errors.MetadataError | errors.RegistryError | errors.StorageError
    outside = isinstance(error, stores | errors.ClusterError | errors.RunFailedError | errors.TamperedError)
    return ExitCode.BAD_INPUT if isinstance(error, EdgemillError) and not outside else ExitCode.NODE_FAILED
