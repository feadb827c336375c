"""Options of a run's log and status file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from components.core.errors import SpecError
from edgemill.run_log import LogFormat


@dataclass(frozen=True)
class OutputOptions:
    """What a run writes in addition to its report.

    Attributes:
        summary_json: Status file for monitoring (`pipelines.report.status`). None writes no file.
        log_format: Format of the log.
    """

    summary_json: Path | None = None
    log_format: LogFormat = "text"

    def options(self) -> tuple[str, ...]:
        """The options of `edgemill run` with these values, without defaults. Paths are absolute."""
        summary = ("--summary-json", os.path.realpath(self.summary_json)) if self.summary_json is not None else ()
        return (*summary, *(("--log-format", self.log_format) if self.log_format != "text" else ()))


def log_format_of(name: str) -> LogFormat:
    """The log format of a `--log-format` value.

    Raises:
        SpecError: There is no such format.
    """
    for known in get_args(LogFormat):
        if name == known:
            return known
    raise SpecError(
        "there is no such format",
        where="--log-format",
        bound="text or json",
        measured=name,
        remedy="name one of the two",
    )
