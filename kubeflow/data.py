"""What examples there were when a pipeline was compiled, and whether a container has the same."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.core.errors import DataError
from components.core.files import sha256_of, sha256_of_bytes


def examples_digest(folder: Path, patterns: Iterable[str]) -> str:
    """Hexadecimal SHA-256 of the names and digests of all files that patterns match, in order of name."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    lines = [f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    return sha256_of_bytes("".join(lines).encode())


def check_examples(folder: Path, patterns: Iterable[str], expected: str) -> None:
    """See that an image has the examples that a pipeline was compiled with.

    Kubeflow's cache knows the command line and not the data: the digest stands in the command line.

    Raises:
        DataError: It has others.
    """
    found = examples_digest(folder, patterns)
    if found != expected:
        raise DataError(
            "the image has other examples than those that this pipeline was compiled with",
            where=str(folder),
            bound=f"sha256 {expected}",
            measured=found,
            remedy="build the image and compile the pipeline from the same data",
        )
