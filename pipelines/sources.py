"""What the examples of a pipeline are, by content: TFX itself goes by size and modification time alone."""

from __future__ import annotations

import json
from pathlib import Path

from components.files import sha256_of_bytes
from components.remembered_digests import digests_of
from pipelines.environment import Environment
from pipelines.spec import DeclaredSplits, PipelineSpec
from pipelines.storage.bucket import is_address

# ML Metadata holds them in one value; beyond, the digest over all files stands for them.
_MOST_LISTED = 1_000
# What the value of ExampleGen's parameter is called in the lineage.
ALL_FILES = "data_sha256"
_STRING_VALUE = "type.googleapis.com/google.protobuf.StringValue"


def source_files(spec: PipelineSpec) -> list[Path]:
    """The files that the splits' patterns match, in order of name; none if the examples lie in an object store."""
    if is_address(spec.examples.path):
        return []
    splits = spec.examples.splits
    patterns = splits.patterns.values() if isinstance(splits, DeclaredSplits) else [splits.pattern]
    folder = Path(spec.examples.path)
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})


def source_digests(spec: PipelineSpec, place: Environment, *, rehash: bool = False) -> str | None:
    """The examples' names and digests as the text of a parameter: other content is another parameter.

    Returns:
        JSON: the digest over all files, their number, and the digest of each file unless there are very many. None if
        the examples lie in an object store.

    Raises:
        DataError: A file cannot be read.
    """
    files = source_files(spec)
    if not files:
        return None
    found = digests_of(files, place.data_digests(spec.name), rehash=rehash)
    named = {file.relative_to(spec.examples.path).as_posix(): digest for file, digest in found.items()}
    lines = "".join(f"{digest}  {name}\n" for name, digest in named.items())
    listed = {"sha256": named} if len(named) <= _MOST_LISTED else {}
    return json.dumps({ALL_FILES: sha256_of_bytes(lines.encode()), "files": len(named), **listed})


def shown_digests(custom_config: str) -> dict[str, str]:
    """What the lineage shows of ExampleGen's parameter; nothing for those of other nodes."""
    try:
        packed = json.loads(custom_config)["custom_config"]
        held = json.loads(packed["value"]) if packed["@type"] == _STRING_VALUE else {}
        digests = {f"sha256 of {name}": digest for name, digest in held.get("sha256", {}).items()}
        return {ALL_FILES: held[ALL_FILES], "data_files": str(held["files"]), **digests}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
