"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PipelineFile = Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file (YAML).")]
Root = Annotated[Path | None, typer.Option(help="Folder of artifacts, metadata, and reports [build/edgemill].")]
Metadata = Annotated[
    str | None,
    typer.Option(
        "--metadata",
        envvar="EDGEMILL_METADATA",
        show_envvar=False,
        help="sqlite:PATH, mysql://..., or postgres://... For a URL with a password, set EDGEMILL_METADATA instead "
        "[sqlite inside the root].",
    ),
]
EnvironmentFile = Annotated[Path, typer.Option("--environment", "-e", help="Environment file: docs/kubeflow.md.")]
DEFAULT_ENVIRONMENT = Path("environment.yaml")
SummaryJson = Annotated[
    Path | None,
    typer.Option(help="Write machine-readable run status at start and end: docs/production.md."),
]
SkipImpossible = Annotated[
    bool,
    typer.Option("--skip-impossible", help="Leave out the recipes that cannot work on this model, and report why."),
]
LogFormatName = Annotated[str, typer.Option(help="Format of the log: text, or json (one object per line).")]
CronLine = Annotated[
    str | None, typer.Option(help="Five fields: minute, hour, day of the month, month, day of the week.")
]
