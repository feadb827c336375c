"""Repairs a registry: completes or reports releases that a killed push left behind, and restores damaged files.

Content comes only from sources that have its digest: from the compressed form or the model of the release itself, from
other registries, or from files of a run. If something is signed, the signed state decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from components.core.compression import gunzip, gzip_of
from components.core.errors import EdgemillError, RegistryError
from components.core.files import sha256_of, sha256_of_bytes
from components.core.values import FrozenModel, Watch, unwatched
from components.push.artifact import artifact_files
from components.push.audit import record
from components.push.release import COMPRESSED_NAME, MANIFEST_NAME, MODEL_NAME, Release, ReleaseManifest
from components.push.upkeep.check import Problem, check_signed
from components.push.upkeep.holdings import Copy, Holdings
from components.push.upkeep.opening import holdings_at
from components.push.upkeep.trusted import read_trusted, references, restore_metadata
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
        RegistryError: A registry can't be read or written, or its signatures are refused.
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
    found_places = holdings.places()
    total, done = sum(len(holdings.versions(place)) for place in found_places), 0
    for place in found_places:
        for version, stored in holdings.versions(place).items():
            watch(done, total, f"reading {place}/{version}")
            done += 1
            run.release(place, version, complete=stored.complete)
        for one in sorted(name for name in needed if name.rpartition("/")[0] == place):
            if one.rpartition("/")[2] not in holdings.versions(place):
                run.release(place, one.rpartition("/")[2], complete=True)
    complete: dict[str, dict[str, str]] = {}
    for state in trusted.reading.states if trusted else ():
        if state.complete is not None:
            complete.setdefault(f"{state.device_class}/{state.name}", {})[state.channel] = state.complete.version
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

    def release(self, place: str, version: str, *, complete: bool) -> None:
        """Restore a release if it is damaged, or complete it if a push left it incomplete."""
        here = f"{place}/{version}"
        try:
            self._read(self._holdings, place, version)
            return
        except RegistryError as error:
            broken = error
        copy = self._elsewhere(place, version)
        files = self._differing(place, version, copy) if copy else self._from_pieces(place, version)
        written: list[str] = []
        try:
            for name, content in files:
                written.append(f"{here}/{name}")
                if not self._dry:
                    self._record()
                    self._holdings.restore(place, version, name, content)
            if copy is not None and not self._dry:
                self._record()
                self._holdings.write(place, copy)
            if not self._dry:
                self._read(self._holdings, place, version)
        except RegistryError as error:
            if written or complete:
                self.problems.append(Problem(where=here, message=str(error if written else broken)))
            else:
                self.incomplete.append(here)
            return
        if not written and copy is None:  # In a dry run.
            if complete:
                self.problems.append(Problem(where=here, message=str(broken)))
            else:
                self.incomplete.append(here)
            return
        self.restored += written
        if not complete:
            self.completed.append(here)

    def channels(self, place: str, signed: dict[str, str]) -> None:
        """Point each damaged channel to its signed release, or to the release of the same channel in a source."""
        found = self._holdings.channels(place)
        for channel in sorted({*found, *signed}):
            state, named = found.get(channel), signed.get(channel)
            broken = state is None or isinstance(state, RegistryError)
            if not broken and (named is None or state.version == named):  # type: ignore[union-attr]
                continue
            version = named or self._named_elsewhere(place, channel)
            where = f"{place}: {channel}"
            try:
                if version is None:
                    raise state if isinstance(state, RegistryError) else KeyError(channel)
                release = self._read(self._holdings, place, version).release
                if not self._dry:
                    self._record()
                    self._holdings.point(place, channel, release)
                self.restored.append(where)
            except RegistryError as error:
                self.problems.append(Problem(where=where, message=str(error)))

    def _read(self, holdings: Holdings, place: str, version: str) -> Copy:
        copy = holdings.read(place, version)
        check_signed(copy, self._signed.get(f"{place}/{version}", ()))
        return copy

    def _elsewhere(self, place: str, version: str) -> Copy | None:
        """Return the release from the first source that has it intact."""
        for other in self._others:
            try:
                return self._read(other, place, version)
            except EdgemillError:
                continue
        return None

    def _differing(self, place: str, version: str, copy: Copy) -> Iterator[tuple[str, bytes]]:
        """Yield the files of a release that differ here, the manifest last."""
        current = self._holdings.contents(place, version, copy.files)
        for name in sorted(copy.files, key=lambda name: name == MANIFEST_NAME):
            if current.get(name) != copy.files[name]:
                yield name, copy.files[name]

    def _from_pieces(self, place: str, version: str) -> Iterator[tuple[str, bytes]]:
        """Yield the damaged files of a release whose manifest is intact, from its other files and from runs."""
        manifest = self._manifest(place, version)
        if manifest is None:
            return
        current = self._holdings.contents(place, version, [MODEL_NAME, COMPRESSED_NAME])
        model, compressed = current.get(MODEL_NAME, b""), current.get(COMPRESSED_NAME, b"")
        made: list[Callable[[], bytes | None]] = [
            lambda: model,
            lambda: gunzip(compressed, manifest.bytes),
            lambda: self._searched(manifest.sha256, manifest.bytes),
        ]
        good = _first(made, manifest.sha256)
        if good is not None and good != model:
            yield MODEL_NAME, good
        if (form := manifest.compressed) is not None and sha256_of_bytes(compressed) != form.sha256:
            again = _first(
                [lambda: good and gzip_of(good), lambda: self._searched(form.sha256, form.bytes)], form.sha256
            )
            if again is not None:
                yield COMPRESSED_NAME, again
        wanted = {one.path(name): one for name, one in manifest.files.items()}
        there = self._holdings.contents(place, version, wanted)
        for path, one in wanted.items():
            if sha256_of_bytes(there.get(path, b"")) != one.sha256:
                content = self._searched(one.sha256, one.bytes)
                if content is not None:
                    yield path, content
        beside = self._holdings.oci_manifests(place, version)
        release = Release(version=version, path=place, manifest=manifest)
        made_again = artifact_files(release, self._written(place, version))
        # A file of a different manifest shows that the manifest was changed.
        if beside is not None and set(beside) <= made_again.keys():
            there = self._holdings.contents(place, version, made_again)
            yield from ((path, content) for path, content in made_again.items() if there.get(path) != content)

    def _written(self, place: str, version: str) -> bytes:
        return self._holdings.contents(place, version, [MANIFEST_NAME]).get(MANIFEST_NAME, b"")

    def _manifest(self, place: str, version: str) -> ReleaseManifest | None:
        try:
            manifest = ReleaseManifest.model_validate_json(self._written(place, version))
        except ValidationError:
            return None
        return manifest if manifest.sha256.startswith(version) else None

    def _searched(self, sha256: str, size: int) -> bytes | None:
        """Find a file by its size and digest in the folders of runs."""
        for folder in self._folders:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.stat().st_size == size and sha256_of(path) == sha256:
                    return path.read_bytes()
        return None

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


def _first(makers: Sequence[Callable[[], bytes | None]], sha256: str) -> bytes | None:
    return next((made for make in makers if (made := make()) is not None and sha256_of_bytes(made) == sha256), None)


def _registry(source: str) -> Holdings:
    found = holdings_at(source)
    found.places()
    return found
