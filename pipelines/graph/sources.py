"""Identifies the examples of a pipeline, and other inputs of its code, at the start of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

from components.core.files import sha256_of_bytes
from components.core.remembered_digests import content_digest, digests_of
from components.core.values import Watch, unwatched
from components.core.version import code_version
from components.ingest.listing import files_of
from components.ingest.sources import described, matching
from components.object_store.bucket import is_address, split
from components.spec.examples import ArraySource, AudioSource, GeneratorSource, ImageSource, MadeSplits
from pipelines.file.environment import Environment
from pipelines.file.spec import CodeInputs, GeneratorExamples, HashedSplits, MadeExamples, PipelineSpec


def source_digests(spec: PipelineSpec, place: Environment, *, rehash: bool = False, watch: Watch = unwatched) -> str:
    """Describe the examples' names and identities as a parameter, which changes with their content.

    Files are identified by the SHA-256 of their content, which the environment caches; `rehash` reads all files again.
    Objects are identified by their size and by the store's version, which changes with each write. `watch` is called
    with the number of files that are done.

    Raises:
        DataError: A file can't be read.
        StorageError: The object store doesn't respond.
    """
    patterns = tuple(spec.examples.patterns.values())
    if is_address(spec.examples.path):
        return described(_versions(spec.examples.path.rstrip("/"), patterns))
    folder = Path(spec.examples.path)
    files = files_of(spec.examples, folder, patterns) if isinstance(spec.examples, MadeExamples) else None
    listed = matching(folder, patterns) if files is None else files
    found = digests_of(listed, place.data_digests(spec.name), rehash=rehash, watch=watch)
    return described({os.path.relpath(file, folder): f"sha256 {digest}" for file, digest in found.items()})


def made_splits(examples: MadeExamples) -> MadeSplits:
    """The configuration of the ExampleGen for examples that Edgemill makes."""
    splits = examples.splits
    feature = splits.feature if isinstance(splits, HashedSplits) else None
    # The fields of the source are a subset of the fields of the examples.
    kinds = (ImageSource, AudioSource, ArraySource, GeneratorSource)
    names = {name for kind in kinds if isinstance(examples, kind) for name in kind.model_fields}
    version = code_version(examples.function.partition(":")[0]) if isinstance(examples, GeneratorExamples) else ""
    return MadeSplits.model_validate(
        {"source": examples.model_dump(include=names), "label": examples.label, "version": version, "feature": feature}
    )


def reads_digest(reads: CodeInputs) -> str:
    """16 hexadecimal digits over the files and variables that user code depends on; empty if the file names none.

    Paths don't count, so that the digest is the same for a copy of the project elsewhere.

    Raises:
        DataError: A file can't be read.
    """
    if not reads.files and not reads.variables:
        return ""
    found = {
        "files": [content_digest(Path(file)) for file in reads.files],
        "variables": {name: os.environ.get(name) for name in reads.variables},
    }
    return sha256_of_bytes(json.dumps(found, sort_keys=True).encode())[:16]


def _versions(address: str, patterns: tuple[str, ...]) -> dict[str, str]:
    from pipelines.storage.filesystem import matching_objects

    found = [one for pattern in patterns for one in matching_objects(f"{address}/{pattern}")]
    prefix = split(address)[2]
    return {one.key.removeprefix(prefix).lstrip("/"): f"{one.size} bytes, version {one.version}" for one in found}
