"""Which old runs may go, and with them which artifacts: decided from ML Metadata and folders, nothing is changed.

Kept is every run that the rules keep and every run whose release is in a registry; with them all artifacts that they
made, took from cache, or were made from. A run of another root on the same metadata store is not ours to judge, nor is
a folder without a `run.json` of a run that the store knows, nor anything outside the pipeline's folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

from components.core.errors import MetadataError
from components.core.files import bytes_of
from components.core.values import FrozenModel
from pipelines.file.environment import Environment
from pipelines.runs.retention_history import History
from pipelines.runs.run import PLAN_NAME, RunPlan
from pipelines.storage.bucket import is_address
from pipelines.storage.staging import Staging, folder_sizes

_OUTPUT_FOLDERS = ("*/*/*", "*/.system/*/*")
# `<node>/<output>/<execution>`; the store has nothing of TFX's own.
_OUTPUT_DEPTH = 3


class Rules(FrozenModel):
    """Which runs of a pipeline are kept: those that any of the rules keeps, and always the newest.

    Attributes:
        keep_runs: The newest so many; None does not count.
        older_than_days: Those that started less than so many days ago; None does not ask.
    """

    keep_runs: int | None = None
    older_than_days: float | None = None


class RunChoice(FrozenModel):
    """What is to become of one run.

    Attributes:
        run_id: Which run.
        started: In UTC.
        kept: Whether it stays.
        why: In words.
    """

    run_id: str
    started: datetime
    kept: bool
    why: str


class RetentionPlan(FrozenModel):
    """What is to be removed of one pipeline.

    Attributes:
        pipeline: Its name.
        runs: Newest first.
        contexts: Ids of the runs to remove in ML Metadata.
        artifacts: Ids of the artifacts to remove there.
        addresses: What is to be removed of object stores.
        folders: What is to be removed of the disk, copies of what goes there among it.
        freed_bytes: How much that is.
    """

    pipeline: str
    runs: tuple[RunChoice, ...]
    contexts: tuple[int, ...]
    artifacts: tuple[int, ...]
    addresses: tuple[str, ...] = ()
    folders: tuple[str, ...]
    freed_bytes: int


def plan_removal(store: Any, place: Environment, pipeline: str, rules: Rules, now: datetime) -> RetentionPlan:
    """Decide what of a pipeline's folder may go.

    Args:
        store: A connected MetadataStore.
        place: Where the pipeline ran.
        pipeline: Its name.
        rules: What to keep.
        now: With time zone.

    Raises:
        MetadataError: Some `run.json` names a run that the store does not know.
        StorageError: Some run's artifacts lie in an object store that cannot be read.
    """
    history = History(store, pipeline)
    here = _runs_here(place, pipeline, set(history.runs))
    releases = history.releases()
    choices = tuple(_choices(here, rules, {run: path for run, (path, _) in releases.items()}, history.removed, now))
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
    """The pipelines below a root that the store has runs of. Other folders are another's, whatever they are called.

    Raises:
        MetadataError: Some `run.json` names a run that the store does not know.
    """
    names = sorted({path.parent.name for path in place.root.glob("*/runs") if path.is_dir()})
    return [name for name in names if _runs_here(place, name, set(History(store, name).runs))]


def _runs_here(place: Environment, pipeline: str, known: set[str]) -> dict[str, _Here]:
    """The runs that have a folder with a `run.json` below the root, when they started, and where they wrote.

    Raises:
        MetadataError: A `run.json` names a run that is not known: this is not the store that the runs were recorded in.
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
            # Another version wrote it, or it is another's.
            if folder.name in known:
                found[folder.name] = _Here(datetime.fromtimestamp(folder.stat().st_mtime, timezone.utc), None)
            continue
        if plan.run_id not in known:
            raise MetadataError(
                "the metadata store does not know this run, so it cannot say what its release was made from",
                where=str(file),
                bound="a run that the store holds",
                measured=plan.run_id,
                remedy="name the --metadata that it ran with, or, if that store is gone, remove the folder yourself",
            )
        if (plan.pipeline, plan.run_id) == (pipeline, folder.name):
            found[folder.name] = _Here(plan.started, plan.artifacts)
    return found


def _inside(place: Environment, pipeline: str, path: Path) -> bool:
    """Whether a path lies in a pipeline's folder, and no symbolic link leads out of it."""
    return path.resolve().is_relative_to(place.root.resolve() / pipeline)


def _choices(
    here: Mapping[str, _Here], rules: Rules, releases: Mapping[str, str], removed: set[str], now: datetime
) -> Iterable[RunChoice]:
    youngest = sorted(here, key=lambda run: (here[run].started, run), reverse=True)
    rank = 0
    for run in youngest:
        age = now - here[run].started
        if run in removed:
            # An earlier removal was killed: what it began is ended.
            kept, why = False, "its removal had begun"
        elif rank == 0:
            kept, why = True, "the newest"
        elif rules.keep_runs is not None and rank < rules.keep_runs:
            kept, why = True, f"one of the newest {rules.keep_runs}"
        elif rules.older_than_days is not None and age / timedelta(days=1) <= rules.older_than_days:
            kept, why = True, f"{age.days} days old"
        elif run in releases:
            kept, why = True, f"made the release {releases[run]}"
        else:
            kept, why = False, f"{age.days} days old, and no release needs it"
        rank += run not in removed
        yield RunChoice(run_id=run, started=here[run].started, kept=kept, why=why)


class _Places:
    """Where runs wrote that are here: a folder below the root, and addresses with the folders of their copies."""

    def __init__(self, place: Environment, pipeline: str, here: Mapping[str, _Here]) -> None:
        told = (one.artifacts for one in here.values() if one.artifacts is not None)
        self._addresses = sorted({address for address in told if is_address(address)})
        self._staging = Staging(place.staged(pipeline))
        self._roots = [place.artifacts(pipeline), *map(self.path, self._addresses)]

    def path(self, uri: str) -> Path:
        """Where an artifact, or its copy, lies on this machine."""
        return Path(self._staging.local(uri))

    def hold(self, uri: str) -> bool:
        """Whether an artifact lies in one of them."""
        return any(self.path(uri).is_relative_to(root) for root in self._roots)

    def left_by(self, executions: set[str]) -> set[Path]:
        """Folders that executions wrote, also of those that were killed: these are in no artifact."""
        found = (path for root in self._roots for pattern in _OUTPUT_FOLDERS for path in root.glob(pattern))
        return {path for path in found if path.name in executions}

    def checkpoints_before(self, newest: datetime) -> set[Path]:
        """Checkpoints of trainings that were killed, and that the newest run has not gone on with."""
        stale = set()
        for folder in (folder for root in self._roots for folder in root.glob("*/checkpoints/*")):
            written = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
            if datetime.fromtimestamp(written, timezone.utc) < newest:
                stale.add(folder)
        return stale

    def stored(self) -> dict[str, int]:
        """What executions wrote to object stores: address -> bytes."""
        return {uri: size for root in self._addresses for uri, size in folder_sizes(root, _OUTPUT_DEPTH).items()}
