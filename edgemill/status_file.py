"""The file of `edgemill run --summary-json`: written when the run starts, and when it ends for any reason."""

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
from edgemill.exit_codes import ExitCode, exit_code_of, interruption_of
from pipelines.file.redaction import hide
from pipelines.report.status import RunStatus, versions, with_summary
from pipelines.report.summary import RunSummary

# `exit_meaning` of a run that could not write its own exit status.
KILLED = "KILLED"


class StatusFile:
    """The status of one run, and its file. Without a path, nothing is written.

    Attributes:
        secrets: Replaced with asterisks. Set them as soon as they are known.
    """

    def __init__(self, path: Path | None, pipeline_file: Path) -> None:
        self._path = path
        self.secrets: tuple[str, ...] = ()
        self._began = time.monotonic()
        self._status = RunStatus(
            state="running",
            pipeline_file=_in_utf8(str(pipeline_file)),
            pid=os.getpid(),
            host=socket.gethostname(),
            started=datetime.now(timezone.utc),
            versions=versions(),
        )

    def begin(self) -> None:
        """Write that the run has started, which replaces an earlier status. Raises a SpecError if that fails."""
        try:
            self._write()
        except OSError as error:
            raise SpecError(
                "the summary cannot be written",
                where=f"--summary-json {self._path}",
                measured=error.strerror,
                remedy="specify a file in a writable folder",
            ) from error

    def runs(self, pipeline: str, run_id: str, log: Path) -> None:
        """Write the pipeline, the run ID, and the path of the log."""
        self._change(pipeline=pipeline, run_id=run_id, log=str(log))
        self._write()

    def summarized(self, summary: RunSummary, report: Path, details: Path) -> None:
        """Add the content of a run's summary. `end` writes it."""
        self._status = with_summary(self._status, summary)
        self._change(report=str(report), details=str(details))

    def end(self, code: ExitCode, error: str = "") -> None:
        """Write the outcome of the run."""
        self._change(
            state="ended",
            exit_status=int(code),
            exit_meaning=code.name,
            ended=datetime.now(timezone.utc),
            seconds=round(time.monotonic() - self._began, 3),
        )
        if error:
            self._change(errors=(*self._status.errors, _in_utf8(error)))
        self._write()

    def _change(self, **fields: object) -> None:
        self._status = self._status.model_copy(update=fields)

    @property
    def content(self) -> RunStatus:
        """The status, which can contain secrets."""
        return self._status

    def _write(self) -> None:
        if self._path is not None:
            text = hide(self._status.model_dump_json(indent=2), self.secrets)
            write_atomically(self._path, text.encode() + b"\n")

    @contextmanager
    def outlived(self) -> Iterator[None]:
        """Start a watcher process that writes the end if this process is killed within the context."""
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
        # A separate process group, which Ctrl-C and `killpg` do not reach. Set here, so that it applies immediately.
        os.setpgid(watcher, watcher)
        try:
            yield
        finally:
            with suppress(OSError):  # The watcher was killed.
                os.write(kept, b".")
            os.close(kept)
            with suppress(ChildProcessError):
                os.waitpid(watcher, 0)

    def _wait(self, held: int) -> None:
        # Signals that end the run must not end the watcher.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if os.read(held, 1) or self._path is None:
            return
        found = RunStatus.model_validate_json(self._path.read_bytes())
        if (found.state, found.pid) == ("running", self._status.pid):
            self._status = found
            self._change(state="ended", exit_meaning=KILLED, ended=datetime.now(timezone.utc))
            self._change(errors=(*found.errors, "the process was killed, or ended by native code in it"))
            self._write()


def _in_utf8(text: str) -> str:
    """Escape text that JSON can't contain with backslashes: file names that are not UTF-8."""
    return text.encode(errors="backslashreplace").decode()


@contextmanager
def ending(status: StatusFile) -> Iterator[None]:
    """Record in the status file why a run ended early, and raise the exception again."""
    with status.outlived():
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
