"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PipelineFile = Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file (YAML).")]


Root = Annotated[
    Path | None, typer.Option("--root", help="Folder of artifacts, metadata and reports [build/edgemill].")
]


Metadata = Annotated[
    str | None,
    typer.Option(
        "--metadata",
        envvar="EDGEMILL_METADATA",
        show_envvar=False,
        help="sqlite:PATH, mysql://... or postgres://...; may hold a password: better in EDGEMILL_METADATA "
        "[sqlite inside the root].",
    ),
]


EnvironmentFile = Annotated[Path, typer.Option("--environment", "-e", help="Where it runs (YAML): docs/kubeflow.md.")]


DEFAULT_ENVIRONMENT = Path("environment.yaml")


SummaryJson = Annotated[
    Path | None, typer.Option("--summary-json", help="Also write how the run stands and ends: docs/production.md.")
]


LogFormatName = Annotated[str, typer.Option("--log-format", help="Of the log: text, or json: one object a line.")]


CronLine = Annotated[
    str | None, typer.Option("--cron", help="Five fields: minute, hour, day of the month, month, day of the week.")
]
