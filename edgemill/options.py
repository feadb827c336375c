"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# The location of runs if --root is not given. The same as in `pipelines.file.environment`, whose import takes too long
# for a completion.
_DEFAULT_ROOT = "build/edgemill"
_DEVICES = Path(__file__).parents[1] / "pipelines" / "devices"


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """The IDs of the root's runs that begin with the typed text, the newest first."""
    root = Path(context.params.get("root") or _DEFAULT_ROOT)
    found = sorted((path.parent.name for path in root.glob("*/runs/[!.]*/run.json")), reverse=True)
    return [name for name in ("latest", *found) if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """The names of the shipped device profiles that begin with the typed text."""
    return [file.stem for file in sorted(_DEVICES.glob("*.yaml")) if file.stem.startswith(incomplete)]


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
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, even for an error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or `latest`.", autocompletion=complete_run)]
