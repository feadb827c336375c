"""Checks that a container has the examples that its pipeline was compiled with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.core.errors import DataError
from components.core.files import sha256_of, sha256_of_bytes


def examples_digest(folder: Path, patterns: Iterable[str]) -> str:
    """Hexadecimal SHA-256 over the names and digests of all files that match the patterns, sorted by name."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    lines = [f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    return sha256_of_bytes("".join(lines).encode())


def check_examples(folder: Path, patterns: Iterable[str], expected: str) -> None:
    """Check that the image has the examples that the pipeline was compiled with.

    Kubeflow's cache compares the command line and not the data, so the command line contains the digest.

    Raises:
        DataError: The examples differ.
    """
    found = examples_digest(folder, patterns)
    if found != expected:
        raise DataError(
            "the examples in the image differ from those that this pipeline was compiled with",
            where=str(folder),
            bound=f"sha256 {expected}",
            measured=found,
            remedy="build the image and compile the pipeline from the same data",
        )
