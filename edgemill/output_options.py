"""What a run tells besides its report, as the command line names it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from components.core.errors import SpecError
from edgemill.run_log import LogFormat


@dataclass(frozen=True)
class OutputOptions:
    """What a run tells besides its report.

    Attributes:
        summary_json: File for whatever watches it (`pipelines.report.status`); None writes none.
        log_format: Of the log.
    """

    summary_json: Path | None = None
    log_format: LogFormat = "text"

    def options(self) -> tuple[str, ...]:
        """The same as options of `edgemill run`, paths absolute; what is the default is left out."""
        summary = ("--summary-json", os.path.realpath(self.summary_json)) if self.summary_json is not None else ()
        return (*summary, *(("--log-format", self.log_format) if self.log_format != "text" else ()))


def log_format_of(name: str) -> LogFormat:
    """What `--log-format` names.

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
