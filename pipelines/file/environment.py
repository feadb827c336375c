"""Where a pipeline runs: root, artifacts, metadata, and Beam arguments."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Literal

from components.core.errors import SpecError
from components.core.values import FrozenModel

DEFAULT_ROOT = Path("build/edgemill")
RunnerName = Literal["local", "beam"]


class Environment(FrozenModel):
    """Where a pipeline runs.

    Attributes:
        root: Folder for the metadata, reports, locks, and artifacts of all pipelines.
        metadata_url: Location of ML Metadata: `sqlite:PATH`, `mysql://...`, or `postgres://...`.
        runner: TFX runner that orchestrates the pipeline.
        beam_args: Arguments of every Beam pipeline, each `--name=value`.
        pipeline_root: Location of artifacts if not below the root: `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`.
    """

    root: Path
    metadata_url: str
    runner: RunnerName = "local"
    beam_args: tuple[str, ...] = ()
    pipeline_root: str | None = None

    def artifacts(self, pipeline: str) -> Path:
        """Local folder of a pipeline's artifacts."""
        return self.root / pipeline / "artifacts"

    def artifact_root(self, pipeline: str) -> str:
        """Where a pipeline's nodes write: the artifacts folder, or its counterpart in an object store."""
        if self.pipeline_root is None:
            return str(self.artifacts(pipeline))
        return f"{self.pipeline_root.rstrip('/')}/{pipeline}/artifacts"

    def staged(self, pipeline: str) -> Path:
        """Folder of local copies of objects in object stores."""
        return self.root / pipeline / "staged"

    def data_digests(self, pipeline: str) -> Path:
        """File that caches the digests of a pipeline's examples."""
        return self.root / pipeline / "data_digests.json"

    def passed_checks(self, pipeline: str) -> Path:
        """File that records the checks that a pipeline has passed."""
        return self.root / pipeline / "passed_checks.json"

    def runs(self, pipeline: str) -> Path:
        """Folder of a pipeline's run summaries and reports."""
        return self.root / pipeline / "runs"


def environment(
    root: Path | None,
    metadata_url: str | None,
    runner: RunnerName = "local",
    beam_args: tuple[str, ...] = (),
    pipeline_root: str | None = None,
) -> Environment:
    """Return an environment with defaults: the root `build/edgemill`, and SQLite inside the root.

    Raises:
        SpecError: The root is an object store address, or neither a folder nor a path where one can be created.
    """
    if root is not None and re.match(r"[a-z0-9]+:/", str(root)):  # `Path` collapses two slashes into one.
        raise SpecError(
            "reports, locks, and SQLite can't be in an object store",
            where="--root",
            bound="a local folder",
            measured=root,
            remedy="use a local folder as the root, and set --pipeline-root or `pipeline_root` to this address for "
            "the artifacts",
        )
    absolute = _usable(root or DEFAULT_ROOT)
    return Environment(
        root=absolute,
        metadata_url=metadata_url or f"sqlite:{absolute / 'metadata.sqlite'}",
        runner=runner,
        beam_args=beam_args,
        pipeline_root=pipeline_root,
    )


def _usable(root: Path) -> Path:
    # Not `resolve`: in some Python versions, it raises an error for circular symbolic links.
    absolute, reason = Path(os.path.realpath(root)) if "\0" not in str(root) else root, "not a folder"
    try:
        if stat.S_ISDIR(absolute.stat().st_mode):
            return absolute
    except FileNotFoundError:
        return absolute
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise SpecError(
        "this root cannot be used",
        where="--root",
        bound="a folder, or a path where one can be created",
        measured=f"{str(root)[:200]!r}: {reason}",
        remedy="choose another folder",
    )
