"""Decides from ML Metadata and folders which old runs and artifacts can be removed. Changes nothing.

Kept runs are those that the rules keep, and those whose release is in a registry. All artifacts that these runs
produced or took from the cache are also kept, with everything that they were made from. Runs of a different root on the
same metadata store are not considered, nor are folders without the `run.json` of a run in the store, nor anything
outside the pipeline's folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

from components.core.errors import MetadataError
from components.core.files import bytes_of
from components.core.values import FrozenModel
from components.object_store.bucket import is_address
from pipelines.file.environment import Environment
from pipelines.runs.metadata import History
from pipelines.runs.run import PLAN_NAME, RunPlan
from pipelines.storage.staging import Staging, folder_sizes

_OUTPUT_FOLDERS = ("*/*/*", "*/.system/*/*")
# `<node>/<output>/<execution>`. Object stores contain none of TFX's own folders.
_OUTPUT_DEPTH = 3


class Rules(FrozenModel):
    """Rules for the runs of a pipeline to keep: always the newest, the newest `keep_runs`, and those that started at
    most `older_than_days` days ago. None disables a rule.
    """

    keep_runs: int | None = None
    older_than_days: float | None = None


class RunChoice(FrozenModel):
    """The decision on one run: whether it is kept, and why."""

    run_id: str
    started: datetime
    kept: bool
    why: str


class RetentionPlan(FrozenModel):
    """The items to remove from one pipeline.

    Attributes:
        runs: The decisions, newest run first.
        contexts, artifacts: IDs of the runs and artifacts to remove in ML Metadata.
        addresses: The addresses to remove from object stores.
        folders: The folders to remove from disk, including copies of removed objects.
        freed_bytes: Total size of addresses and folders.
    """

    pipeline: str
    runs: tuple[RunChoice, ...]
    contexts: tuple[int, ...]
    artifacts: tuple[int, ...]
    addresses: tuple[str, ...] = ()
    folders: tuple[str, ...]
    freed_bytes: int


def plan_removal(store: Any, place: Environment, pipeline: str, rules: Rules, now: datetime) -> RetentionPlan:
    """Decide what to remove from a pipeline. `now` needs a time zone.

    Raises:
        MetadataError: A `run.json` names a run that isn't in the store.
        StorageError: A run's artifacts are in an object store that can't be read.
    """
    history = History(store, pipeline)
    here = _runs_here(place, pipeline, set(history.runs))
    releases = history.releases()
    reasons = {run: f"made the release {path}" for run, (path, _) in releases.items()}
    reasons |= dict.fromkeys(history.staged(), "has a release that is not pushed yet: edgemill push")
    choices = tuple(_choices(here, rules, reasons, history.removed, now))
    kept_here = {one.run_id for one in choices if one.kept}
    going = {run for run in history.runs if run not in kept_here and (run in here or run in history.removed)}
    needed = history.artifacts_of(set(history.runs) - going)
    needed |= history.upstream({artifact for _, artifacts in releases.values() for artifact in artifacts})
    places = _Places(place, pipeline, here)
    artifacts = [
        one
        for one in store.get_artifacts_by_id(sorted(history.made_by(going) - needed))
        if one.state != one.DELETED and places.hold(one.uri) and _inside(place, pipeline, places.path(one.uri))
    ]
    uris = {one.uri for one in artifacts}
    kept = {one.uri for one in store.get_artifacts_by_id(sorted(needed)) if one.uri}
    executions = {str(number) for run in going for number in history.runs[run].executions}
    kept_paths = set(map(places.path, kept))
    folders = {path for path in map(places.path, uris) if path.exists()} | places.left_by(executions)
    folders = {path for path in folders if not any(kept_path.is_relative_to(path) for kept_path in kept_paths)}
    folders |= places.checkpoints_before(max((one.started for one in choices if one.kept), default=now))
    stored = places.stored()
    far = {uri for uri in stored if uri not in kept and (uri in uris or uri.rpartition("/")[2] in executions)}
    gone = {one.run_id for one in choices if not one.kept}
    runs = place.runs(pipeline)
    folders |= {runs / run for run in gone} | set(runs.glob(".removing-*"))
    folders = {path for path in folders if _inside(place, pipeline, path)}
    return RetentionPlan(
        pipeline=pipeline,
        runs=choices,
        contexts=tuple(sorted(history.runs[run].context for run in going - history.removed)),
        artifacts=tuple(sorted(one.id for one in artifacts)),
        addresses=tuple(sorted(far)),
        folders=tuple(sorted(map(str, folders))),
        freed_bytes=sum(bytes_of(path) for path in folders) + sum(stored[uri] for uri in far),
    )


class _Here(NamedTuple):
    started: datetime
    artifacts: str | None


def known_pipelines(store: Any, place: Environment) -> list[str]:
    """List the pipelines below a root that have runs in the store. Other folders are ignored.

    Raises:
        MetadataError: A `run.json` names a run that isn't in the store.
    """
    names = sorted({path.parent.name for path in place.root.glob("*/runs") if path.is_dir()})
    return [name for name in names if _runs_here(place, name, set(History(store, name).runs))]


def _runs_here(place: Environment, pipeline: str, known: set[str]) -> dict[str, _Here]:
    """Map runs with a `run.json` below the root to their start and to the location of their artifacts.

    Raises a MetadataError if one isn't known, because the runs were recorded in a different store.
    """
    found: dict[str, _Here] = {}
    runs = place.runs(pipeline)
    if not _inside(place, pipeline, runs):
        return found
    for folder in sorted(runs.glob("[!.]*")):
        file = folder / PLAN_NAME
        if folder.is_symlink() or not file.is_file():
            continue
        try:
            plan = RunPlan.model_validate_json(file.read_bytes())
        except (OSError, ValueError):
            # Written by a different version, or not by Edgemill.
            if folder.name in known:
                found[folder.name] = _Here(datetime.fromtimestamp(folder.stat().st_mtime, timezone.utc), None)
            continue
        if plan.run_id not in known:
            raise MetadataError(
                "this run is not in the metadata store, so its release cannot be traced",
                where=str(file),
                bound="a run in the store",
                measured=plan.run_id,
                remedy="use the --metadata that it ran with or, if that store no longer exists, remove the folder",
            )
        if (plan.pipeline, plan.run_id) == (pipeline, folder.name):
            found[folder.name] = _Here(plan.started, plan.artifacts)
    return found


def _inside(place: Environment, pipeline: str, path: Path) -> bool:
    """Return whether a path, with symbolic links resolved, is in a pipeline's folder."""
    return path.resolve().is_relative_to(place.root.resolve() / pipeline)


def _choices(
    here: Mapping[str, _Here], rules: Rules, reasons: Mapping[str, str], removed: set[str], now: datetime
) -> Iterable[RunChoice]:
    youngest = sorted(here, key=lambda run: (here[run].started, run), reverse=True)
    rank = 0
    for run in youngest:
        age = now - here[run].started
        if run in removed:
            # An earlier removal was killed; complete it.
            kept, why = False, "its removal had begun"
        elif rank == 0:
            kept, why = True, "the newest"
        elif rules.keep_runs is not None and rank < rules.keep_runs:
            kept, why = True, f"one of the newest {rules.keep_runs}"
        elif rules.older_than_days is not None and age / timedelta(days=1) <= rules.older_than_days:
            kept, why = True, f"{age.days} days old"
        elif run in reasons:
            kept, why = True, reasons[run]
        else:
            kept, why = False, f"{age.days} days old, and no release needs it"
        rank += run not in removed
        yield RunChoice(run_id=run, started=here[run].started, kept=kept, why=why)


class _Places:
    """The folders and addresses that runs of this root wrote to, and the folders of the addresses' local copies."""

    def __init__(self, place: Environment, pipeline: str, here: Mapping[str, _Here]) -> None:
        recorded = (one.artifacts for one in here.values() if one.artifacts is not None)
        self._addresses = sorted({address for address in recorded if is_address(address)})
        self._staging = Staging(place.staged(pipeline))
        self._roots = [place.artifacts(pipeline), *map(self.path, self._addresses)]

    def path(self, uri: str) -> Path:
        """Return the local path of an artifact or its copy."""
        return Path(self._staging.local(uri))

    def hold(self, uri: str) -> bool:
        """Return whether an artifact is in one of these places."""
        return any(self.path(uri).is_relative_to(root) for root in self._roots)

    def left_by(self, executions: set[str]) -> set[Path]:
        """Return the folders that executions wrote, including killed ones, which have no artifacts."""
        found = (path for root in self._roots for pattern in _OUTPUT_FOLDERS for path in root.glob(pattern))
        return {path for path in found if path.name in executions}

    def checkpoints_before(self, newest: datetime) -> set[Path]:
        """Return the checkpoints of killed trainings that the newest kept run didn't continue."""
        stale = set()
        for folder in (folder for root in self._roots for folder in root.glob("*/checkpoints/*")):
            written = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
            if datetime.fromtimestamp(written, timezone.utc) < newest:
                stale.add(folder)
        return stale

    def stored(self) -> dict[str, int]:
        """Map the addresses that executions wrote in object stores to their sizes in bytes."""
        return {uri: size for root in self._addresses for uri, size in folder_sizes(root, _OUTPUT_DEPTH).items()}
