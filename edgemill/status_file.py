"""The file that `edgemill run --summary-json` writes: that the run has begun, and how it ended, whatever happened."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from components.core.errors import SpecError
from components.core.files import write_atomically
from components.core.user_code import exits_reported, last_words
from edgemill.exit_codes import ExitCode
from edgemill.failure import exit_code_of, interruption_of
from pipelines.file.redaction import hide
from pipelines.report.status import RunStatus, versions, with_summary
from pipelines.report.summary import RunSummary

# What a file says of a run that had no time to say it.
KILLED = "KILLED"


class StatusFile:
    """How one run stands.

    Args:
        path: The file; None keeps the status to itself.
        pipeline_file: As it was given.

    Attributes:
        secrets: Never written; to be set as soon as they are known.
    """

    def __init__(self, path: Path | None, pipeline_file: Path) -> None:
        self._path = path
        self.secrets: tuple[str, ...] = ()
        self._began = time.monotonic()
        self._status = RunStatus(
            state="running",
            pipeline_file=str(pipeline_file),
            pid=os.getpid(),
            host=socket.gethostname(),
            started=datetime.now(timezone.utc),
            versions=versions(),
        )

    def begin(self) -> None:
        """Write that the run has begun, so that what an earlier one left is gone.

        Raises:
            SpecError: The file cannot be written.
        """
        try:
            self._write()
        except OSError as error:
            raise SpecError(
                "the summary cannot be written",
                where=f"--summary-json {self._path}",
                measured=error.strerror,
                remedy="name a file in a folder that can be written",
            ) from error

    def runs(self, pipeline: str, run_id: str, log: Path) -> None:
        """Tell which run it is, as soon as it has a name."""
        self._change(pipeline=pipeline, run_id=run_id, log=str(log))
        self._write()

    def summarized(self, summary: RunSummary, report: Path, details: Path) -> None:
        """Take over what a run's summary tells; written with the end."""
        self._status = with_summary(self._status, summary)
        self._change(report=str(report), details=str(details))

    def end(self, code: ExitCode, error: str = "") -> None:
        """Write how it ended."""
        self._change(
            state="ended",
            exit_status=int(code),
            exit_meaning=code.name,
            ended=datetime.now(timezone.utc),
            seconds=round(time.monotonic() - self._began, 3),
        )
        if error:
            self._change(errors=(*self._status.errors, error))
        self._write()

    def _change(self, **fields: object) -> None:
        self._status = self._status.model_copy(update=fields)

    def _write(self) -> None:
        if self._path is not None:
            write_atomically(self._path, hide(self._status.model_dump_json(indent=2), self.secrets).encode() + b"\n")

    @contextmanager
    def outlived(self) -> Iterator[None]:
        """As long as the context lasts, a process that does nothing else writes the end if this one is killed."""
        if self._path is None:
            yield
            return
        held, kept = os.pipe()
        watcher = os.fork()
        if not watcher:
            try:
                os.close(kept)
                self._wait(held)
            finally:
                os._exit(0)
        os.close(held)
        # Not of the group that Ctrl-C and `killpg` reach; from here, so that it is true at once.
        os.setpgid(watcher, watcher)
        try:
            yield
        finally:
            with suppress(OSError):  # somebody has killed it
                os.write(kept, b".")
            os.close(kept)
            with suppress(ChildProcessError):
                os.waitpid(watcher, 0)

    def _wait(self, held: int) -> None:
        # What ends the run is not meant for this one.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if os.read(held, 1) or self._path is None:
            return
        found = RunStatus.model_validate_json(self._path.read_bytes())
        if (found.state, found.pid) == ("running", self._status.pid):
            self._status = found
            self._change(state="ended", exit_meaning=KILLED, ended=datetime.now(timezone.utc))
            self._change(errors=(*found.errors, "the process was killed, or native code in it ended it"))
            self._write()


@contextmanager
def ending(status: StatusFile) -> Iterator[None]:
    """Tell in the status file of whatever ends a run early; the exception goes on."""
    with status.outlived():
        yield from _ending(status)


def _ending(status: StatusFile) -> Iterator[None]:
    try:
        with exits_reported(), last_words(lambda error: status.end(exit_code_of(error), str(error))):
            yield
    except KeyboardInterrupt as error:
        code = interruption_of(error)
        status.end(code, code.name.lower())
        raise
    except Exception as error:
        status.end(exit_code_of(error), str(error) or type(error).__name__)
        raise
