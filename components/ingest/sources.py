"""What example files are, by content, as a parameter of the node that reads them says it: TFX goes by size and time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from components.core.errors import DataError
from components.core.files import is_file, sha256_of, sha256_of_bytes

# ML Metadata holds the parameter in one value; of more files, the digest over all stands for the digests of each.
_MOST_LISTED = 1_000
# Files that an error names; the count includes the others.
_MOST_NAMED = 5
_STRING_VALUE = "type.googleapis.com/google.protobuf.StringValue"


def matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files that patterns match, in order of name."""
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if is_file(file)})


def described(identities: Mapping[str, str]) -> str:
    """Names and identities (digests of files, versions of objects) as JSON: over all, and each unless very many."""
    lines = "".join(f"{identity}  {name}\n" for name, identity in sorted(identities.items()))
    listed = {"each": dict(identities)} if len(identities) <= _MOST_LISTED else {}
    return json.dumps({"all": sha256_of_bytes(lines.encode()), "count": len(identities), **listed}, sort_keys=True)


def check_sources(folder: Path, patterns: Iterable[str], before: Mapping[str, Any]) -> None:
    """See that example files are what they were.

    Args:
        folder, patterns: Where they lie.
        before: What `described` said of their digests.

    Raises:
        DataError: They have changed since.
    """
    found = {file.relative_to(folder).as_posix(): f"sha256 {sha256_of(file)}" for file in matching(folder, patterns)}
    now = json.loads(described(found))
    if now["all"] == before["all"]:
        return
    known = before.get("each")
    changed = sorted(name for name in {*found, *known} if found.get(name) != known.get(name)) if known else []
    more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
    names = f": {', '.join(changed[:_MOST_NAMED])}{more}" if changed else ""
    raise DataError(
        f"the examples changed while the run read them{names}",
        where=str(folder),
        bound=f"sha256 {before['all']} over {before['count']} files",
        measured=f"sha256 {now['all']} over {now['count']} files",
        remedy="run again once nothing writes there any more",
    )


def description_in(custom_config: str) -> dict[str, Any]:
    """What `described` said, out of ExampleGen's parameter; nothing if another parameter is given."""
    try:
        packed = json.loads(custom_config)["custom_config"]
        held = json.loads(packed["value"]) if packed["@type"] == _STRING_VALUE else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return held if isinstance(held, dict) and {"all", "count"} <= held.keys() else {}


def shown(custom_config: str) -> dict[str, str]:
    """What the lineage shows of ExampleGen's parameter; nothing if another parameter is given."""
    held = description_in(custom_config)
    if not held:
        return {}
    each = {f"data {name}": identity for name, identity in held.get("each", {}).items()}
    return {"data": f"{held['count']} files, sha256 {held['all']} over their names and digests", **each}
