"""Where a pipeline runs, which is not what it is: root, metadata, Beam arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from components.values import Value

DEFAULT_ROOT = Path("build/edgemill")
RunnerName = Literal["local", "beam"]


class Environment(Value):
    """One place to run in.

    Attributes:
        root: Folder for artifacts, metadata and reports of all pipelines.
        metadata_url: Where ML Metadata lies: `sqlite:PATH`, `mysql://...` or `postgres://...`.
        runner: Which TFX runner orchestrates.
        beam_args: Passed to every Beam pipeline, `--name=value` each.
    """

    root: Path
    metadata_url: str
    runner: RunnerName = "local"
    beam_args: tuple[str, ...] = ()

    def artifacts(self, pipeline: str) -> Path:
        """Folder of a pipeline's artifacts."""
        return self.root / pipeline / "artifacts"

    def runs(self, pipeline: str) -> Path:
        """Folder of a pipeline's run summaries and reports."""
        return self.root / pipeline / "runs"


def environment(
    root: Path | None, metadata_url: str | None, runner: RunnerName = "local", beam_args: tuple[str, ...] = ()
) -> Environment:
    """An environment with what the user left out filled in: `build/edgemill`, and SQLite inside the root."""
    absolute = (root or DEFAULT_ROOT).resolve()
    return Environment(
        root=absolute,
        metadata_url=metadata_url or f"sqlite:{absolute / 'metadata.sqlite'}",
        runner=runner,
        beam_args=beam_args,
    )
