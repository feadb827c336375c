"""The log of a run: text (`log.txt`) or JSON (`log.jsonl`, one object per line), and the options that choose it."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, get_args

from components.core.errors import SpecError
from pipelines.file.redaction import hide

LogFormat = Literal["text", "json"]

_NAMES: dict[LogFormat, str] = {"text": "log.txt", "json": "log.jsonl"}
# Output of native code and child processes, which has no log format.
NATIVE_NAME = "stderr.txt"
# How TFX's runners log the start and end of a node. Nodes run one at a time.
_BORDER = re.compile(r"(?:Component|node) (\S+) is (running|finished)\.")


@dataclass(frozen=True)
class OutputOptions:
    """Files that a run writes besides its report: a status file (`pipelines.report.status`), and its log."""

    summary_json: Path | None = None
    log_format: LogFormat = "text"

    def options(self) -> tuple[str, ...]:
        """The options of `edgemill run` with these values, without defaults. Paths are absolute."""
        summary = ("--summary-json", os.path.realpath(self.summary_json)) if self.summary_json is not None else ()
        return (*summary, *(("--log-format", self.log_format) if self.log_format != "text" else ()))


def log_format_of(name: str) -> LogFormat:
    """The log format of a `--log-format` value. Raises a SpecError if there is no such format."""
    for known in get_args(LogFormat):
        if name == known:
            return known
    raise SpecError(
        "there is no such format",
        where="--log-format",
        bound="text or json",
        measured=name,
        remedy="choose one of the two",
    )


def log_path(folder: Path, form: LogFormat) -> Path:
    """The path of the log in a run's folder."""
    return folder / _NAMES[form]


@contextmanager
def logged_to(folder: Path, form: LogFormat, run_id: str, secrets: tuple[str, ...] = ()) -> Iterator[None]:
    """Send all logs, and native code's stderr, to files. The terminal shows only progress and results.

    `text` writes both to one file. `json` writes the output of native code to `stderr.txt`, and adds the run's ID to
    every line. Secrets are replaced with asterisks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = log_path(folder, form).open("a")
    native = log if form == "text" else (folder / NATIVE_NAME).open("a")
    handler = logging.StreamHandler(log)
    handler.setFormatter(_Lines(run_id, secrets) if form == "json" else _Text(secrets))
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    terminal = os.dup(2)
    try:
        os.dup2(native.fileno(), 2)
        # TFX logs through absl, which would otherwise install its own handler on stderr.
        from absl import logging as absl_logging

        absl_logging.use_python_logging(quiet=True)
        absl_logging.get_absl_logger().handlers = []
        # Set explicitly: training parses absl's flags, whose default verbosity would hide TFX's logs of later nodes.
        verbosity = absl_logging.get_verbosity()
        absl_logging.set_verbosity(absl_logging.INFO)
        try:
            yield
        finally:
            absl_logging.set_verbosity(verbosity)
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        logging.captureWarnings(False)
        root.handlers, root.level = handlers, level
        log.close()
        native.close()


class _Text(logging.Formatter):
    """One line of text per record."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """See the base class."""
        return hide(super().format(record), self._secrets)


class _Lines(logging.Formatter):
    """One JSON object per record, on one line."""

    def __init__(self, run_id: str, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._run_id, self._secrets = run_id, secrets
        self._node: str | None = None

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON: time (UTC), level, logger, run, node, message, and the stack of an exception."""
        message = record.getMessage()
        border = _BORDER.fullmatch(message)
        if border:
            self._node = border[1]
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "run": self._run_id,
            "node": self._node,
            "message": hide(message, self._secrets),
        }
        if record.exc_info:
            line["exception"] = hide(self.formatException(record.exc_info), self._secrets)
        if border and border[2] == "finished":
            self._node = None
        return json.dumps(line, ensure_ascii=False)
