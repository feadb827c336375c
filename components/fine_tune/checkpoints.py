"""Where fine-tuning keeps the checkpoints that a killed execution resumes from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from components.core.files import sha256_of_bytes


def checkpoint_folder(artifact: Path, key: Sequence[str]) -> Path:
    """Where an execution keeps its checkpoints: found again by the next one that is asked the same.

    TFX deletes what a failed execution wrote, and gives the next one another folder.

    Args:
        artifact: Folder of the output artifact, `<root>/<node>/<output>/<execution>`.
        key: All that the result depends on.
    """
    return artifact.parents[1] / "checkpoints" / sha256_of_bytes("\0".join(key).encode())[:16]


def remove_checkpoints(folder: Path) -> None:
    """Remove what `fine_tune` kept."""
    shutil.rmtree(folder, ignore_errors=True)
