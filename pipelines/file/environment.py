"""Where a pipeline runs, which is not what it is: root, artifacts, metadata, Beam arguments."""

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
    """One place to run in.

    Attributes:
        root: Folder for metadata, reports, locks and artifacts of all pipelines.
        metadata_url: Where ML Metadata lies: `sqlite:PATH`, `mysql://...` or `postgres://...`.
        runner: Which TFX runner orchestrates.
        beam_args: Passed to every Beam pipeline, `--name=value` each.
        pipeline_root: Where artifacts lie if not below the root: `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`.
    """

    root: Path
    metadata_url: str
    runner: RunnerName = "local"
    beam_args: tuple[str, ...] = ()
    pipeline_root: str | None = None

    def artifacts(self, pipeline: str) -> Path:
        """Folder of a pipeline's artifacts on this machine."""
        return self.root / pipeline / "artifacts"

    def artifact_root(self, pipeline: str) -> str:
        """Where a pipeline's nodes write: the same folder, or its like in an object store."""
        if self.pipeline_root is None:
            return str(self.artifacts(pipeline))
        return f"{self.pipeline_root.rstrip('/')}/{pipeline}/artifacts"

    def staged(self, pipeline: str) -> Path:
        """Folder of copies of what lies in object stores."""
        return self.root / pipeline / "staged"

    def data_digests(self, pipeline: str) -> Path:
        """File that remembers the digests of a pipeline's examples."""
        return self.root / pipeline / "data_digests.json"

    def passed_checks(self, pipeline: str) -> Path:
        """File that remembers which checks a pipeline has passed."""
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
    """An environment with what the user left out filled in: `build/edgemill`, and SQLite inside the root.

    Raises:
        SpecError: The root is an address, or neither a folder nor free to become one.
    """
    if root is not None and re.match(r"[a-z0-9]+:/", str(root)):  # a Path has made one slash of two
        raise SpecError(
            "reports, locks and SQLite cannot lie in an object store",
            where="--root",
            bound="a folder of this machine",
            measured=root,
            remedy="name a folder as root, and the address as --pipeline-root or `pipeline_root`: artifacts go there",
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
    # Not `resolve`, which some versions of Python let raise for symbolic links in a circle.
    absolute, reason = Path(os.path.realpath(root)) if "\0" not in str(root) else root, "no folder"
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
        bound="a folder, or a path where one can be made",
        measured=f"{str(root)[:200]!r}: {reason}",
        remedy="name another one",
    )
