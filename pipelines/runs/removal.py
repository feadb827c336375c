"""Removing what a plan of retention names, so that a kill at any point loses nothing that is still in use.

First the runs are marked in ML Metadata, then their artifacts: from then on TFX's cache serves none of them. Then
addresses and folders go, and at last artifacts are marked as deleted. What was killed in between is ended by the next
removal.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.core.errors import StorageError
from pipelines.file.environment import Environment
from pipelines.runs.metadata import REMOVED_PROPERTY
from pipelines.runs.retention import RetentionPlan
from pipelines.storage.staging import discard


def remove(store: Any, place: Environment, plan: RetentionPlan, told: Callable[[str], None] = lambda _: None) -> None:
    """Carry out a plan. The pipeline's folder must be locked (`pipelines.runs.lock.removing`).

    Args:
        store: The store that the plan was made from.
        place: Likewise.
        plan: What to remove.
        told: Called before each folder or address is removed.

    Raises:
        StorageError: A folder or an address cannot be removed; all others that come before it are.
    """
    _mark_runs(store, plan)
    _mark_artifacts(store, plan, "MARKED_FOR_DELETION")
    # Before the folders of runs, which tell where artifacts lie.
    for address in plan.addresses:
        told(address)
        discard(address)
    runs = place.runs(plan.pipeline)
    for path in map(Path, plan.folders):
        told(str(path))
        try:
            if not path.is_symlink() and not path.resolve().is_relative_to(place.root.resolve() / plan.pipeline):
                raise OSError("a symbolic link leads out of the pipeline's folder")
            if path.parent == runs and not path.name.startswith("."):
                # A report is there whole, or not at all.
                path = path.rename(runs / f".removing-{path.name}")  # noqa: PLW2901
            if path.is_symlink():
                raise OSError("it is a symbolic link")
            shutil.rmtree(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageError(
                f"cannot be removed: {error.strerror or error}",
                where=str(error.filename or path),
                remedy="let it be a folder that can be written, and clean again: what was begun is ended",
            ) from error
    _mark_artifacts(store, plan, "DELETED")


def _mark_runs(store: Any, plan: RetentionPlan) -> None:
    contexts = store.get_contexts_by_id(list(plan.contexts))
    for context in contexts:
        context.custom_properties[REMOVED_PROPERTY].int_value = 1
    if contexts:
        store.put_contexts(contexts)


def _mark_artifacts(store: Any, plan: RetentionPlan, state: str) -> None:
    artifacts = store.get_artifacts_by_id(list(plan.artifacts))
    for artifact in artifacts:
        artifact.state = artifact.State.Value(state)
    if artifacts:
        store.put_artifacts(artifacts)
