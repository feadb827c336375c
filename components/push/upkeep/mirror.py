"""Copies complete registries, from any kind to any kind.

The audit log is copied first, because the signed metadata names one of its entries. Releases are copied byte by byte,
then channels, then signed metadata, its timestamp last. So readers of the copy see complete releases, and signed
metadata that was in force. Existing files aren't copied again, so an interrupted mirror resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.core.errors import RegistryError
from components.core.values import FrozenModel, Watch, unwatched
from components.push.audit import copy_log, record
from components.push.beside import normal_root
from components.push.references import manifest_digest
from components.push.registry import store_at
from components.push.release import MANIFEST_NAME
from components.push.upkeep.check import Problem
from components.push.upkeep.holdings import Holdings
from components.push.upkeep.opening import check_registry, holdings_at, places_in
from components.push.upkeep.releases.signed_files import by_manifest, read_signed
from components.push.upkeep.trusted import Trusted, complete_releases, read_trusted, references
from components.trust.rollout import ReleaseRef
from components.trust.signed_set import FIRST_ROOT_NAME, TIMESTAMP_NAME, read_signed_set
from components.trust.storage import ListedStore


class Mirrored(FrozenModel):
    """The changes that a mirror made, or would make.

    Attributes:
        source, target: The registries.
        copied: The releases that were copied.
        unchanged: Number of releases that were already there.
        bytes: Size of the copied files.
        pointed: The channels that were changed.
        signed: Whether the copy is signed.
        metadata: Number of files of signed metadata that were copied.
        problems: Problems that prevented a copy.
    """

    source: str
    target: str
    copied: tuple[str, ...]
    unchanged: int
    bytes: int
    pointed: tuple[str, ...]
    signed: bool
    metadata: int
    problems: tuple[Problem, ...]


def mirror(
    source: str,
    target: str,
    places: tuple[str, ...] = (),
    trust: Path | None = None,
    *,
    dry_run: bool = False,
    watch: Watch = unwatched,
) -> Mirrored:
    """Copy a registry.

    Args:
        source, target: The registries. A folder that is the target is created.
        places: The places to copy, `<device class>/<name>`; by default all. Signed metadata is always complete.
        trust: A root.json that the signatures of the source must lead to.
        dry_run: Only report what would be copied.
        watch: Called with the number of releases that are done.

    Raises:
        RegistryError: A registry can't be read or written, the source or a chosen place is empty, or the target is
            a different signed registry, newer, or inside the source. Nothing has changed then.
    """
    taken = holdings_at(source, places)
    if normal_root(target) == taken.root:
        raise RegistryError("a registry cannot be its own mirror", where=target, remedy="choose another target")
    inner, outer = sorted((f"{normal_root(target)}/", f"{taken.root}/"), key=len, reverse=True)
    if inner.startswith(outer):
        raise RegistryError(
            "one of the registries is inside the other",
            where=target,
            bound="a target next to the source",
            measured=f"{inner[:-1]} in {outer[:-1]}",
            remedy="choose another target",
        )
    places_in(taken, places)
    if not places:
        check_registry(taken)
    trusted = read_trusted(taken.root, trust)
    _check_target(trusted, taken.root, normal_root(target))
    if "://" not in target and not dry_run:
        Path(target).mkdir(parents=True, exist_ok=True)
    given = None if "://" not in target and not Path(target).is_dir() else holdings_at(target, places)
    run = _Run(taken, given, dry_run=dry_run)
    if not places:
        run.log()
    run.releases(trusted, watch)
    metadata = 0
    signed = references(trusted.reading.states) if trusted else {}
    lost = [problem for problem in run.problems if problem.where in signed]
    if trusted is not None and not places and not lost:
        metadata = _copy_metadata(trusted, normal_root(target), dry_run=dry_run)
    return Mirrored(
        source=taken.root,
        target=normal_root(target),
        copied=tuple(run.copied),
        unchanged=run.unchanged,
        bytes=run.bytes,
        pointed=tuple(run.pointed),
        signed=trusted is not None and not places and not lost,
        metadata=metadata,
        problems=tuple(run.problems),
    )


class _Run:
    def __init__(self, taken: Holdings, given: Holdings | None, *, dry_run: bool) -> None:
        self._taken, self._given, self._dry = taken, given, dry_run
        self.copied: list[str] = []
        self.pointed: list[str] = []
        self.problems: list[Problem] = []
        self.unchanged = self.bytes = 0
        self._recorded = False

    def log(self) -> None:
        """Copy the audit log, and join it to the target's own."""
        if not self._dry and self._given is not None and (last := copy_log(self._taken.root, self._given.root)):
            self._record(last)

    def releases(self, trusted: Trusted | None, watch: Watch) -> None:
        signed = references(trusted.reading.states) if trusted else {}
        places = self._taken.places()
        if self._given is not None:
            self._given.places()
        complete = complete_releases(trusted.reading.states) if trusted else {}
        total, done = sum(len(self._taken.versions(place)) for place in places), 0
        for place in places:
            # Read channels first, so that the releases that they name are among the copied ones.
            named, left_out = self._taken.named(place), set[str]()
            self._taken.again(place)
            for version, stored in self._taken.versions(place).items():
                # Releases that were pushed since then add to the total.
                watch(done, max(total, done + 1), f"copying {place}/{version}")
                done += 1
                if not stored.complete:
                    continue
                try:
                    self._release(place, version, signed.get(f"{place}/{version}", []))
                except RegistryError as error:
                    left_out.add(version)
                    self.problems.append(Problem(where=f"{place}/{version}", message=str(error)))
            for channel, pointed in named.items():
                if pointed in left_out:
                    continue
                try:
                    self._channel(place, channel, pointed, complete.get(place, {}).get(channel))
                except RegistryError as error:
                    self.problems.append(Problem(where=f"{place}: {channel}", message=str(error)))

    def _release(self, place: str, version: str, signed: Sequence[ReleaseRef]) -> None:
        current = self._taken.manifest(place, version)
        if self._is_there(place, version, current, signed):
            self.unchanged += 1
            return
        # The current one comes last, unless it isn't signed: then it isn't copied.
        copies = sorted(
            read_signed(self._taken, place, version, signed), key=lambda one: one.files[MANIFEST_NAME] == current
        )
        for number, copy in enumerate(copies, start=1):
            if not self._dry and self._given is not None:
                self._record()
                self._given.write(place, copy, current=number == len(copies))
        self.copied.append(f"{place}/{version}")
        self.bytes += sum(len(content) for _, content in {item for copy in copies for item in copy.files.items()})

    def _is_there(self, place: str, version: str, current: bytes | None, signed: Sequence[ReleaseRef]) -> bool:
        """Whether the target has a release: all its manifests, and the same current one."""
        if self._given is None or current is None or not self._given.holds(place, version, current):
            return False
        written = [self._taken.manifest(place, version, one) for one in by_manifest(signed)]
        held = all(one is not None and self._given.holds(place, version, one) for one in written)
        return held and self._given.manifest(place, version) == current

    def _channel(self, place: str, channel: str, version: str | None, ref: ReleaseRef | None) -> None:
        if version is None:
            raise RegistryError(
                "the pointer of this channel cannot be read, so it is not copied",
                where=f"{self._taken.root}/{place}: {channel}",
                remedy="repair the source first: `edgemill registry repair`",
            )
        # A channel of a folder or a bucket names no manifest.
        signed = manifest_digest(ref) if ref and ref.version == version else ""
        manifest = signed or self._taken.pointed(place, channel)
        if self._given is not None:
            if self._given.named(place).get(channel) == version:
                pointed = self._given.pointed(place, channel)
                if pointed is None or manifest in {None, pointed}:
                    return
            copy = self._taken.read(place, version, manifest)
            if not self._dry:
                self._record()
                self._given.point(place, channel, copy.release)
        self.pointed.append(f"{place}: {channel}")

    def _record(self, also: Sequence[str] = ()) -> None:
        if not self._recorded and self._given is not None:
            record(self._given.root, what="mirror", also=also, source=self._taken.root)
            self._recorded = True


def _check_target(trusted: Trusted | None, source: str, target: str) -> None:
    store = store_at(target)
    own, timestamp = store.read(FIRST_ROOT_NAME), store.read(TIMESTAMP_NAME)
    if trusted is None:
        if own is not None or timestamp is not None:
            raise RegistryError(
                "the target is signed, and the source is not",
                where=target,
                bound="a source with the same first root",
                measured=f"{source} is not signed",
                remedy="specify another target; or push to the signed registry",
            )
        return
    files = trusted.reading.files
    if own is not None and own.content != files.get(FIRST_ROOT_NAME):
        raise RegistryError(
            "the target is another signed registry: its first root differs",
            where=target,
            remedy="specify an empty target, or a mirror of this source",
        )
    if timestamp is not None and timestamp.content != files[TIMESTAMP_NAME]:
        _check_older(trusted, store, target)


def _copy_metadata(trusted: Trusted, target: str, *, dry_run: bool) -> int:
    """Copy the signed metadata that is in force. The files that lead to it come last."""
    store, files = store_at(target), trusted.reading.files
    own = store.read(TIMESTAMP_NAME)
    if own is not None and own.content == files[TIMESTAMP_NAME]:
        return 0
    if own is not None:
        _check_older(trusted, store, target)
    if dry_run:
        return len(files)
    with store.exclusive():
        for name in sorted(files.keys() - {TIMESTAMP_NAME, FIRST_ROOT_NAME}):
            _create(store, name, files[name], target)
        if not store.write_if(TIMESTAMP_NAME, files[TIMESTAMP_NAME], own.version if own else None):
            raise RegistryError("another process has just changed the target", where=target, remedy="run again")
        # The root makes a new mirror a signed registry.
        _create(store, FIRST_ROOT_NAME, files[FIRST_ROOT_NAME], target)
    return len(files)


def _create(store: ListedStore, name: str, content: bytes, target: str) -> None:
    if store.write_if(name, content, None):
        return
    found = store.read(name)
    if found is None or found.content != content:
        raise RegistryError(
            "the target has different signed metadata with this name",
            where=f"{target}: {name}",
            remedy="mirror to an empty registry: this one has pushes of its own",
        )


def _check_older(trusted: Trusted, store: ListedStore, target: str) -> None:
    anchor = trusted.anchor or trusted.reading.files[FIRST_ROOT_NAME]
    version = read_signed_set(store, anchor, target).timestamp.signed.version
    mine = trusted.reading.found.timestamp.signed.version
    if version > mine:
        raise RegistryError(
            "the target is newer than the source, and devices refuse to go back",
            where=target,
            bound=f"a timestamp of version {mine} or lower",
            measured=version,
            remedy="mirror in the other direction, or find out why the source is old",
        )
