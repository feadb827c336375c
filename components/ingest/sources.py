"""Identifies example files by content, in a node parameter. TFX's own fingerprint uses only sizes and times."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from components.core.errors import DataError, some_of
from components.core.files import is_file, sha256_of, sha256_of_bytes

# ML Metadata stores the parameter as one value. With more files than this, only the digest over all of them is kept.
_MOST_LISTED = 1_000
# Beam and TensorFlow read these characters of a path as a pattern, and there is no way to quote all of them for both.
_WILDCARDS = frozenset("*?[\\")
_STRING_VALUE = "type.googleapis.com/google.protobuf.StringValue"


def matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the files that match any pattern, sorted by name."""
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if is_file(file)})


def wildcards_in(path: Path) -> str:
    """Return the characters of a path that TFX would read as a pattern; empty if there are none."""
    return "".join(sorted(_WILDCARDS & set(str(path))))


def read_by_tfx(folder: Path, pattern: str) -> set[Path]:
    """Return the files that ExampleGen reads for a pattern, by the rules of Beam's `LocalFileSystem.match`.

    They differ from the shell's: `**` matches at least one folder, links to folders are not followed, pipes and sockets
    are files, and a name with a backslash doesn't match `*`.

    Args:
        folder: A folder for which `wildcards_in` is empty.
        pattern: The pattern of a split.
    """
    whole = f"{folder}/{pattern}"
    prefix = re.split(r"[*?\[]", whole, maxsplit=1)[0]
    if prefix == whole:
        return {path for path in (Path(whole),) if path.exists()}
    matches = re.compile(_translated(whole), re.DOTALL).fullmatch
    # Without these, a pattern doesn't match a slash, and folders below its last part need not be listed.
    deepest = math.inf if re.search(r"\*\*|[?\[]", pattern) else whole.count("/")
    found = set()
    for at, folders, names in os.walk(prefix.rpartition("/")[0]):
        found |= {Path(path) for path in (f"{at}/{name}" for name in names) if matches(path) and Path(path).exists()}
        if at.count("/") + 1 >= deepest:
            folders.clear()
    return found


def _translated(pattern: str) -> str:
    """Translate a pattern to a regular expression. `[` without `]` is a literal."""
    parts = re.split(r"(\*\*|\*|\?|\[!?\]?[^\]]*\])", pattern)
    return "".join(_of_wildcard(part) if index % 2 else re.escape(part) for index, part in enumerate(parts))


def _of_wildcard(part: str) -> str:
    if part[0] != "[":
        return {"**": ".*", "*": r"[^/\\]*", "?": "."}[part]
    inside = part[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    negated, quoted = "^" * (inside[0] == "!"), "\\" * (inside[0] == "^")
    return f"[{negated}{quoted}{inside.removeprefix('!')}]"


def described(identities: Mapping[str, str]) -> str:
    """Describe files as JSON: the digest over all names and identities, their count, and each identity.

    An identity is a file's digest or an object's version. The individual identities are left out if there are more
    than `_MOST_LISTED`.
    """
    lines = "".join(f"{identity}  {name}\n" for name, identity in sorted(identities.items()))
    listed = {"each": dict(identities)} if len(identities) <= _MOST_LISTED else {}
    return json.dumps({"all": sha256_of_bytes(lines.encode()), "count": len(identities), **listed}, sort_keys=True)


def check_sources(folder: Path, files: Iterable[Path], before: Mapping[str, Any]) -> None:
    """Check that example files in a folder haven't changed since their digests were `described` and parsed.

    Raises:
        DataError: The files have changed.
    """
    found = {os.path.relpath(file, folder): f"sha256 {sha256_of(file)}" for file in files}
    now = json.loads(described(found))
    if now["all"] == before["all"]:
        return
    known = before.get("each")
    changed = sorted(name for name in {*found, *known} if found.get(name) != known.get(name)) if known else []
    raise DataError(
        "the examples changed while the run read them" + (f": {some_of(changed)}" if changed else ""),
        where=str(folder),
        bound=f"sha256 {before['all']} over {before['count']} files",
        measured=f"sha256 {now['all']} over {now['count']} files",
        remedy="run again when no process writes to the folder",
    )


def description_in(custom_config: str) -> dict[str, Any]:
    """Extract the description from ExampleGen's custom configuration; empty if there is something else."""
    found = configuration_in(custom_config)
    return found if {"all", "count"} <= found.keys() else {}


def configuration_in(custom_config: str) -> dict[str, Any]:
    """Extract the JSON object from ExampleGen's custom configuration; empty if there is something else."""
    try:
        packed = json.loads(custom_config)["custom_config"]
        found = json.loads(packed["value"]) if packed["@type"] == _STRING_VALUE else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def shown(custom_config: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return what the lineage shows of ExampleGen's custom configuration.

    Returns:
        Facts: the number of files, their common digest, and the other fields of the configuration. Then the identity of
        each file, if they are listed. Both are empty if the configuration has no description.
    """
    description = description_in(custom_config)
    if not description:
        return {}, {}
    each: dict[str, str] = description.pop("each", {})
    data = f"{description.pop('count')} files, sha256 {description.pop('all')} over their names and digests"
    return {"data": data, **({"custom_config": json.dumps(description)} if description else {})}, each
