"""What the examples of a pipeline are when a run begins, wherever they lie."""

from __future__ import annotations

from pathlib import Path

from components.core.remembered_digests import digests_of
from components.ingest.sources import described, matching
from pipelines.file.environment import Environment
from pipelines.file.spec import DeclaredSplits, PipelineSpec
from pipelines.storage.bucket import is_address, split


def source_digests(spec: PipelineSpec, place: Environment, *, rehash: bool = False) -> str:
    """The examples' names and identities as the text of a parameter: other content is another parameter.

    Files are identified by the SHA-256 of their content, objects by their size and by the version that their store
    gives them, which changes with each write.

    Args:
        spec: The pipeline.
        place: Where digests of files are remembered.
        rehash: Read all files, even those whose digests are remembered.

    Raises:
        DataError: A file cannot be read.
        StorageError: The object store does not answer.
    """
    splits = spec.examples.splits
    patterns = tuple(splits.patterns.values()) if isinstance(splits, DeclaredSplits) else (splits.pattern,)
    if is_address(spec.examples.path):
        return described(_versions(spec.examples.path.rstrip("/"), patterns))
    found = digests_of(matching(Path(spec.examples.path), patterns), place.data_digests(spec.name), rehash=rehash)
    return described(
        {file.relative_to(spec.examples.path).as_posix(): f"sha256 {digest}" for file, digest in found.items()}
    )


def _versions(address: str, patterns: tuple[str, ...]) -> dict[str, str]:
    from pipelines.storage.filesystem import matching_objects

    found = [one for pattern in patterns for one in matching_objects(f"{address}/{pattern}")]
    prefix = split(address)[2]
    return {one.key.removeprefix(prefix).lstrip("/"): f"{one.size} bytes, version {one.version}" for one in found}
