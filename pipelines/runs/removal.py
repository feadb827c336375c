"""Carries out a retention plan. If it is killed at any point, nothing that is still in use is lost.

Marks the runs and then their artifacts in ML Metadata, so that TFX's cache no longer serves them. Then removes
addresses and folders, and finally marks the artifacts as deleted. The next removal completes an interrupted one.
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


def remove(store: Any, place: Environment, plan: RetentionPlan, notify: Callable[[str], None] = lambda _: None) -> None:
    """Carry out a plan of this store and place. The pipeline's folder must be locked (`pipelines.runs.lock.removing`).

    `notify` is called before each folder or address is removed.

    Raises:
        StorageError: A folder or an address can't be removed. All folders and addresses before it are removed.
    """
    _mark_runs(store, plan)
    _mark_artifacts(store, plan, "MARKED_FOR_DELETION")
    # Before the run folders, which record where the artifacts are.
    for address in plan.addresses:
        notify(address)
        discard(address)
    runs = place.runs(plan.pipeline)
    for path in map(Path, plan.folders):
        notify(str(path))
        try:
            if not path.is_symlink() and not path.resolve().is_relative_to(place.root.resolve() / plan.pipeline):
                raise OSError("a symbolic link leads out of the pipeline's folder")
            if path.parent == runs and not path.name.startswith("."):
                # Done so that a report never exists partially.
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
                remedy="make it a writable folder, and clean again to complete the removal",
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
