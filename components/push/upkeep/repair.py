"""Repairs a registry: completes or reports releases that a killed push left behind, and restores damaged files.

Content comes only from sources that have its digest: from the compressed form or the model of the release itself, from
other registries, or from files of a run. If something is signed, the signed state decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from components.core.errors import EdgemillError, RegistryError
from components.core.files import sha256_of_bytes
from components.core.values import FrozenModel, Watch, unwatched
from components.push.audit import lost_entries, read_log, record, restore_entries
from components.push.references import manifest_digest
from components.push.release import MANIFEST_NAME, Release, manifest_path
from components.push.upkeep.check import Problem
from components.push.upkeep.holdings import Copy, Holdings
from components.push.upkeep.opening import check_registry, holdings_at, no_such_place
from components.push.upkeep.releases.pieces import from_pieces
from components.push.upkeep.releases.signed_files import by_manifest, check_current, check_signed, read_signed
from components.push.upkeep.trusted import (
    complete_releases,
    read_trusted,
    references,
    restore_metadata,
    restore_pointers,
)
from components.trust.rollout import ReleaseRef


class Repaired(FrozenModel):
    """The changes that a repair made, or would make.

    Attributes:
        registry: Its folder or address.
        restored: Files and channels that were written again.
        completed: Releases of killed pushes that were completed.
        incomplete: Releases of killed pushes that no source can complete. No device sees them, and `gc` removes them.
        problems: Problems that couldn't be repaired.
    """

    registry: str
    restored: tuple[str, ...]
    completed: tuple[str, ...]
    incomplete: tuple[str, ...]
    problems: tuple[Problem, ...]


def repair(
    root: str,
    sources: Sequence[str] = (),
    places: tuple[str, ...] = (),
    trust: Path | None = None,
    *,
    dry_run: bool = False,
    watch: Watch = unwatched,
) -> Repaired:
    """Repair a registry.

    Args:
        root: Its folder or address.
        sources: Registries that may have the same releases, and folders of runs.
        places: The places to repair; by default all.
        trust: A root.json that the signatures must lead to.
        dry_run: Only report what would be repaired.
        watch: Called with the number of releases that are done.

    Raises:
        RegistryError: A registry can't be read or written, its signatures are refused, or the registry to repair or a
            chosen place is empty.
    """
    holdings = holdings_at(root, places)
    others, metadata = [_registry(source) for source in sources], list[str]()
    try:
        trusted = read_trusted(holdings.root, trust)
    except RegistryError:
        metadata = restore_metadata(holdings.root, [one.root for one in others], trust, dry_run=dry_run)
        if dry_run and metadata:
            return Repaired(registry=holdings.root, restored=tuple(metadata), completed=(), incomplete=(), problems=())
        trusted = read_trusted(holdings.root, trust)
    signed = references(trusted.reading.states) if trusted else {}
    needed = references(trusted.reading.states, archived=False) if trusted else {}
    folders = [Path(source) for source in sources if "://" not in source]
    run = _Run(holdings, others, folders, signed, dry_run=dry_run)
    run.restored += metadata
    run.restored += restore_pointers(trusted, dry_run=dry_run) if trusted else []
    if not places and trusted is None:
        check_registry(holdings)
    if not places:
        run.log(trusted.reading.found.log_entry if trusted else "")
    found = holdings.places()
    # Somebody can have removed all releases of a place.
    known = {*found, *(one.rpartition("/")[0] for one in needed)}
    if unknown := [one for one in places if one not in known]:
        raise no_such_place(holdings.root, unknown)
    missing = {place: run.missing(place, needed) for place in sorted(known.intersection(places or known))}
    total, done = sum(len(holdings.versions(place)) + len(one) for place, one in missing.items()), 0
    for place, gone in missing.items():
        stored = holdings.versions(place)
        for version in (*stored, *gone):
            watch(done, total, f"reading {place}/{version}")
            done += 1
            run.release(place, version, complete=version in gone or stored[version].complete)
    complete = complete_releases(trusted.reading.states) if trusted else {}
    for place in holdings.places():
        run.channels(place, complete.get(place, {}))
    return Repaired(
        registry=holdings.root,
        restored=tuple(run.restored),
        completed=tuple(run.completed),
        incomplete=tuple(run.incomplete),
        problems=tuple(run.problems),
    )


class _Run:
    def __init__(
        self,
        holdings: Holdings,
        others: Sequence[Holdings],
        folders: Sequence[Path],
        signed: dict[str, list[ReleaseRef]],
        *,
        dry_run: bool,
    ) -> None:
        self._holdings, self._others, self._folders, self._signed = holdings, others, folders, signed
        self._dry = dry_run
        self.restored: list[str] = []
        self.completed: list[str] = []
        self.incomplete: list[str] = []
        self.problems: list[Problem] = []
        self._recorded = False

    def log(self, signed: str) -> None:
        """Restore entries of the audit log that a source has. The others are problems."""
        lost = lost_entries(self._holdings.root, [one.root for one in self._others], signed)
        if lost and not self._dry:
            restore_entries(self._holdings.root, lost)
            self._record()
        self.restored += [f"the audit log: {name}" for name in sorted(lost)]
        left = () if self._dry and lost else read_log(self._holdings.root, signed=signed).problems
        self.problems += [Problem(where="the audit log", message=one) for one in left]

    def missing(self, place: str, needed: Iterable[str]) -> list[str]:
        """Return the versions in a place that are gone, although they are signed, or a channel names them."""
        wanted = {version for one, _, version in (name.rpartition("/") for name in needed) if one == place}
        if not wanted and self._others:
            wanted |= {version for version in self._holdings.named(place).values() if version}
        return sorted(wanted - self._holdings.versions(place).keys())

    def release(self, place: str, version: str, *, complete: bool) -> None:
        """Restore a release if it is damaged, or complete it if a push left it incomplete."""
        refs = self._signed.get(f"{place}/{version}", [])
        for manifest in by_manifest(refs):
            self._manifest(place, version, manifest, complete=complete)
        self._current(place, version, refs)

    def _manifest(self, place: str, version: str, manifest: str | None, *, complete: bool) -> None:
        """Restore what one manifest of a release describes, and the manifest."""
        here = f"{place}/{version}"
        try:
            self._read(self._holdings, place, version, manifest)
            return
        except RegistryError as error:
            broken = error
        copy = self._elsewhere(place, version, manifest)
        current = self._is_current(place, version, manifest)
        files = (
            self._differing(place, version, copy, manifest, current=current)
            if copy
            else from_pieces(self._holdings, self._folders, place, version, manifest)
        )
        written: list[str] = []
        try:
            for name, content in files:
                written.append(f"{here}/{name}")
                if not self._dry:
                    self._record()
                    self._holdings.restore(place, version, name, content)
            if copy is not None and not self._dry:
                self._record()
                self._holdings.write(place, copy, current=current)
            if not self._dry:
                self._read(self._holdings, place, version, manifest)
        except RegistryError as error:
            self._failed(here, error if written else broken, complete=bool(written) or complete)
            return
        if not written and copy is None:  # In a dry run.
            self._failed(here, broken, complete=complete)
            return
        self.restored += written
        if not complete:
            self.completed.append(here)

    def _failed(self, here: str, error: RegistryError, *, complete: bool) -> None:
        if complete:
            self.problems.append(Problem(where=here, message=str(error)))
        else:
            self.incomplete.append(here)

    def _is_current(self, place: str, version: str, manifest: str | None) -> bool:
        """Whether a manifest is the current one, or takes its place because nobody has signed what is there."""
        found = self._holdings.manifest(place, version)
        digest = None if found is None else sha256_of_bytes(found)
        return digest is None or digest == manifest or digest not in self._manifests(place, version)

    def _manifests(self, place: str, version: str) -> set[str | None]:
        return set(by_manifest(self._signed.get(f"{place}/{version}", [])))

    def _current(self, place: str, version: str, refs: Sequence[ReleaseRef]) -> None:
        """Make a signed manifest the current one if the current one was changed."""
        try:
            check_current(self._holdings, place, version, refs)
        except RegistryError:
            try:
                copy = read_signed(self._holdings, place, version, refs)[-1]
            except RegistryError:
                return  # It is among the problems.
            if not self._dry:
                self._record()
                self._holdings.write(place, copy)
            self.restored.append(f"{place}/{version}/{MANIFEST_NAME}")

    def channels(self, place: str, signed: Mapping[str, ReleaseRef]) -> None:
        """Point each damaged channel to its signed release, or to the release of the same channel in a source."""
        found = self._holdings.channels(place)
        for channel in sorted({*found, *signed}):
            state, ref = found.get(channel), signed.get(channel)
            if isinstance(state, Release) and (ref is None or self._names(place, channel, state, ref)):
                continue
            version = ref.version if ref else self._named_elsewhere(place, channel)
            where = f"{place}: {channel}"
            try:
                if version is None:
                    raise state if isinstance(state, RegistryError) else KeyError(channel)
                refs = [ref] if ref else self._signed.get(f"{place}/{version}", ())
                release = read_signed(self._holdings, place, version, refs)[0].release
                if not self._dry:
                    self._record()
                    self._holdings.point(place, channel, release)
                self.restored.append(where)
            except RegistryError as error:
                self.problems.append(Problem(where=where, message=str(error)))

    def _names(self, place: str, channel: str, found: Release, ref: ReleaseRef) -> bool:
        pointed = self._holdings.pointed(place, channel)
        return found.version == ref.version and pointed in {None, manifest_digest(ref) or pointed}

    def _read(self, holdings: Holdings, place: str, version: str, manifest: str | None) -> Copy:
        copy = holdings.read(place, version, manifest)
        check_signed(copy, by_manifest(self._signed.get(f"{place}/{version}", ())).get(manifest, ()))
        return copy

    def _elsewhere(self, place: str, version: str, manifest: str | None) -> Copy | None:
        """Return the release from the first source that has it intact."""
        for other in self._others:
            try:
                return self._read(other, place, version, manifest)
            except EdgemillError:
                continue
        return None

    def _differing(
        self, place: str, version: str, copy: Copy, manifest: str | None, *, current: bool
    ) -> Iterator[tuple[str, bytes]]:
        """Yield the files of a release that differ here, the manifest last."""
        there = self._holdings.contents(place, version, copy.files)
        written = copy.files[MANIFEST_NAME]
        if not current and self._holdings.manifest(place, version, manifest) == written:
            there[MANIFEST_NAME] = written
        for name in sorted(copy.files, key=lambda name: name == MANIFEST_NAME):
            if there.get(name) != copy.files[name]:
                kept = name == MANIFEST_NAME and not current
                yield manifest_path(sha256_of_bytes(written)) if kept else name, copy.files[name]

    def _named_elsewhere(self, place: str, channel: str) -> str | None:
        for other in self._others:
            other.again(place)
            if (version := other.named(place).get(channel)) is not None:
                return version
        return None

    def _record(self) -> None:
        if not self._recorded:
            record(self._holdings.root, what="repair", sources=", ".join(one.root for one in self._others))
            self._recorded = True


def _registry(source: str) -> Holdings:
    found = holdings_at(source)
    found.places()
    return found
