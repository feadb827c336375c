"""The artifact of a push: its outcome as a file, and as properties that lineage queries need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.core.files import write_atomically
from components.core.values import serialized
from components.facts.manifest import describe, write_manifest
from components.push.delivery import OUTCOME_NAME, PushOutcome


def lineage_of(run_id: str, chosen: Any, blessing: Any) -> dict[str, str]:
    """The IDs that lead from a signed release to ML Metadata: those of the run, the chosen model, and its blessing."""
    return {"run": run_id, "chosen": str(chosen.id), "blessing": str(blessing.id)}


def record(artifact: Any, outcome: PushOutcome, parents: dict[str, str], code_version: str) -> None:
    """Write an outcome into the folder of an artifact, and describe it.

    Args:
        artifact: A TFX artifact, or anything with a `uri` and the setters of its custom properties.
        outcome: The outcome.
        parents: Digests of the `chosen` model and the `decision`.
        code_version: Version of the code that delivered the release.
    """
    folder = Path(artifact.uri)
    write_atomically(folder / OUTCOME_NAME, serialized(outcome))
    describe(
        artifact,
        write_manifest(folder, OUTCOME_NAME, role="release", parents=parents, code_version=code_version),
        pushed=int(outcome.pushed),
        staged=int(outcome.staged),
        device=outcome.device,
        version=outcome.version or "",
        release_path=outcome.path or "",
        # Empty unless a registry has the release: lineage looks for its push by this digest.
        model_sha256=(outcome.sha256 or "") if outcome.pushed else "",
        release_manifest_sha256=outcome.manifest_sha256 or "",
        other_releases=json.dumps([one.model_dump() for one in outcome.others]) if outcome.others else "",
    )
