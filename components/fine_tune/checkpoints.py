"""The checkpoints that an interrupted fine-tuning resumes from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from components.core.files import sha256_of_bytes


def checkpoint_folder(artifact: Path, key: Sequence[str]) -> Path:
    """The checkpoint folder of an execution, which the next execution with the same key finds again.

    TFX deletes the outputs of a failed execution, and the next execution gets another folder.

    Args:
        artifact: Folder of the output artifact, `<root>/<node>/<output>/<execution>`.
        key: Everything that the result depends on.
    """
    return artifact.parents[1] / "checkpoints" / sha256_of_bytes("\0".join(key).encode())[:16]


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of `fine_tune`."""
    shutil.rmtree(folder, ignore_errors=True)
