"""The in-toto statement about a release, which is part of the signed metadata. Standard library only.

The subjects are the files of the release. The predicate contains the digests of the artifacts that the release was made
from, and the IDs of the run and of its artifacts in ML Metadata. A release that was pushed before its registry was
signed has no such IDs, because a manifest doesn't contain them: `lacks` lists this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:edgemill:release:v1"
# Field of the predicate of a release that was pushed before its registry was signed: missing parts of the statement.
LACKS = "lacks"


def statement_of(
    subjects: Mapping[str, str], predicate: Mapping[str, Any], materials: Mapping[str, str], lineage: Mapping[str, str]
) -> dict[str, Any]:
    """Create the statement about a release.

    Args:
        subjects: Name of each file -> its SHA-256 digest.
        predicate: Device class, name, device, and recipe.
        materials: Role -> digest of an artifact that the release was made from: evaluation, decision, calibration, ...
        lineage: The run and its artifacts in ML Metadata.
    """
    return {
        "_type": TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            **predicate,
            "materials": [{"name": role, "digest": {"sha256": digest}} for role, digest in sorted(materials.items())],
            **({"lineage": dict(lineage)} if lineage else {}),
        },
    }


def without_lineage(statement: Mapping[str, Any]) -> dict[str, Any]:
    """The statement without the IDs, which differ between runs that produce the same release."""
    predicate = statement.get("predicate")
    if not isinstance(predicate, Mapping):
        return dict(statement)
    return {**statement, "predicate": {name: value for name, value in predicate.items() if name != "lineage"}}


def contradiction(statement: Mapping[str, Any], subjects: Mapping[str, str], about: Mapping[str, str]) -> str | None:
    """Describe how a statement about a release is wrong, or return None.

    Args:
        statement: The statement.
        subjects: Files of the release that it must have as subjects, with their SHA-256 digests.
        about: Fields of the predicate, such as `device_class`, with their values.
    """
    try:
        if (statement["_type"], statement["predicateType"]) != (TYPE, PREDICATE_TYPE):
            return f"its statement has the type {statement['_type']!r} and {statement['predicateType']!r}"
        said = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
        for name, digest in subjects.items():
            if said.get(name) != digest:
                return f"its statement is about another {name}"
        for field, value in about.items():
            if statement["predicate"][field] != value:
                return f"its statement is about the {field.replace('_', ' ')} {statement['predicate'][field]!r}"
    except (KeyError, TypeError):
        return "its statement is not an in-toto statement about a release"
    return None
