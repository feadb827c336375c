"""Garbage collection: removes files that no release needs, releases that the retention policy doesn't keep, and
superseded signed metadata. It never removes anything that a channel names, or that is younger than the grace period.

Pushes that run at the same time lose nothing, regardless of clocks: see `components.push.claims`. A collection that
is killed leaves at most an incomplete release, which the next one removes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from components.core.values import FrozenModel, Watch, unwatched
from components.push.audit import read_log, record
from components.push.beside import CLAIMS, notes_at
from components.push.claims import Claim, settle
from components.push.release_files import pointed_version
from components.push.store_errors import explained
from components.push.upkeep.holdings import Holdings, Leftover, Stored
from components.push.upkeep.opening import check_registry, holdings_at, places_in
from components.push.upkeep.reading import signed_at
from components.push.upkeep.releases.signed_files import manifests_of
from components.push.upkeep.retention import Retention, outdated
from components.push.upkeep.trusted import Trusted, read_trusted, references
from components.trust.storage import ListedStore

DEFAULT_GRACE_SECONDS = 24 * 3600.0
_BATCH = 200
_Item = TypeVar("_Item")


class Removed(FrozenModel):
    """One removed item: what it was, where it was, and its size if the registry reports it."""

    what: str
    where: str
    bytes: int | None = None


class Collected(FrozenModel):
    """The items that a collection removed, or would remove.

    Attributes:
        registry: Its folder or address.
        removed: The removed items.
        bytes: Their size, as far as the registry reports it; None if it reports none.
        kept_young: Number of items that are younger than the grace period.
        kept_unknown: Number of releases of unknown age.
    """

    registry: str
    removed: tuple[Removed, ...]
    bytes: int | None
    kept_young: int
    kept_unknown: int


def collect(
    root: str,
    retention: Retention | None = None,
    grace: float = DEFAULT_GRACE_SECONDS,
    places: tuple[str, ...] = (),
    trust: Path | None = None,
    *,
    dry_run: bool = False,
    watch: Watch = unwatched,
) -> Collected:
    """Remove garbage.

    Args:
        root: The registry.
        retention: Which complete releases to keep; by default all.
        grace: Items that were written less than this many seconds ago, by the registry's clock, are kept.
        places: The places to work on; by default all.
        trust: A root.json that the signatures must lead to.
        dry_run: Only report what would be removed.
        watch: Called with the number of items of one kind that are done.

    Raises:
        RegistryError: The registry can't be read or written, its signatures are refused, or it or a chosen place is
            empty.
    """
    holdings = holdings_at(root, places)
    if not places:
        check_registry(holdings)
    run = _Run(holdings, retention or Retention(), grace, trust, watch)
    if dry_run:
        run.all(None)
    else:
        with explained(holdings.root):
            settle(holdings.root, None)
            claim = Claim(notes_at(holdings.root, CLAIMS), holdings.root)
            claim.take(())
            try:
                run.all(claim)
            finally:
                claim.end()
    if not (run.removed or run.young):
        # A place that only a killed push has written to isn't in any list of places.
        places_in(holdings, places)
    return Collected(
        registry=holdings.root,
        removed=tuple(run.removed),
        bytes=sum(sizes) if (sizes := [one.bytes for one in run.removed if one.bytes is not None]) else None,
        kept_young=run.young,
        kept_unknown=run.unknown,
    )


class _Run:
    def __init__(
        self, holdings: Holdings, retention: Retention, grace: float, trust: Path | None, watch: Watch
    ) -> None:
        self._holdings, self._retention, self._grace, self._trust = holdings, retention, grace, trust
        self._watch = watch
        self.removed: list[Removed] = []
        self.young = self.unknown = 0
        self._recorded = False

    def all(self, claim: Claim | None) -> None:
        self._now = time.time() if claim is None else claim.now()
        entries = [one for one in read_log(self._holdings.root).entries.values() if one.what == "push"]
        # The last push of each release, for registries without times.
        self._pushed = {one.where: one.time.timestamp() for one in entries}
        self._order = {one.where: one.level for one in entries}
        self._leftovers(claim)
        self._outdated(claim)
        self._metadata(claim)

    def _leftovers(self, claim: Claim | None) -> None:
        listed = list(self._holdings.leftovers(self._signed()))
        found = [one for one in listed if self._is_old(self._written(one), one.grace)]
        self.young += len(listed) - len(found)
        done = 0
        for batch in _batches(found):
            if claim is not None:
                claim.take(one.release for one in batch if one.release)
                # A push can have completed or replaced them in the meantime.
                still = {(one.where, one.names): one for one in self._holdings.leftovers(self._signed())}
                batch = [one for one in batch if still.get((one.where, one.names)) == one]  # noqa: PLW2901
            for one in batch:
                self._watch(done, len(found), f"removing {one.where}")
                done += 1
                if claim is not None:
                    self._record()
                    claim.check()
                    self._holdings.remove_leftover(one)
                self.removed.append(Removed(what=one.what, where=one.where, bytes=one.bytes))

    def _outdated(self, claim: Claim | None) -> None:
        if not self._retention.is_bounded:
            return
        places = self._holdings.places()
        for number, place in enumerate(places):
            self._watch(number, len(places), f"reading {place}")
            stored = self._holdings.versions(place)
            times = [self._time(place, version, one) for version, one in stored.items() if one.complete]
            self.unknown += times.count(None)
            for batch in _batches(self._versions(place, self._trusted())):
                if claim is not None:
                    claim.take(f"{place}/{version}" for version in batch)
                    # In the meantime, a channel can name them, or a push can have written them again.
                    self._holdings.again(place)
                    still = set(self._versions(place, self._trusted()))
                    batch = [one for one in batch if one in still]  # noqa: PLW2901
                for version in batch:
                    size = self._holdings.versions(place)[version].bytes
                    if claim is not None:
                        self._record()
                        claim.check()
                        self._holdings.remove(place, version)
                    self.removed.append(Removed(what="an outdated release", where=f"{place}/{version}", bytes=size))

    def _versions(self, place: str, trusted: Trusted | None) -> list[str]:
        signed = references(trusted.reading.states, archived=False) if trusted else {}
        named = self._holdings.named(place).values()
        if None in named:
            return []  # The damaged channel can name any of them.
        referenced = {*named, *(one.rpartition("/")[2] for one in signed if one.startswith(f"{place}/"))}
        stored = self._holdings.versions(place)
        times = {version: self._time(place, version, one) for version, one in stored.items() if one.complete}
        known = [(version, when) for version, when in times.items() if when is not None]
        # Registries report times in whole seconds, or none. The audit log has an order.
        known.sort(key=lambda one: (stored[one[0]].written or 0.0, self._order.get(f"{place}/{one[0]}", 0), one[1]))
        found = outdated(self._retention, known, [one for one in referenced if one], self._now)
        return [one for one in found if self._is_old(times[one])]

    def _metadata(self, claim: Claim | None) -> None:
        trusted = self._trusted()
        if trusted is None:
            return
        written = trusted.store.names()
        # A device that has just read the timestamp can still use metadata that was in force until recently.
        names = trusted.reading.superseded(sorted(written))
        since = {name: self._superseded_since(trusted.store, name, written) for name in names}
        old = [name for name, when in since.items() if self._is_old(when)]
        for batch in _batches(old, 500):
            if claim is not None:
                self._record()
                claim.take(())
                with trusted.store.exclusive():
                    trusted.store.remove(batch)
            self.removed += [Removed(what="superseded metadata", where=f"_tuf/{name}") for name in batch]
        pointers = {name: when for name, when in written.items() if name.startswith("targets/")}
        self._pointers(claim, trusted, [name for name, when in pointers.items() if when is None or self._is_old(when)])

    def _pointers(self, claim: Claim | None, trusted: Trusted, names: list[str]) -> None:
        """Remove signed pointers to releases that were removed."""
        found = {}
        for name in names:
            parts = name.split("/")
            if parts[0] == "targets" and len(parts) == 4 and name not in trusted.reading.files:
                content = trusted.store.read(name)
                found[name] = f"{parts[1]}/{parts[2]}/{pointed_version(content.content if content else None)}"
        for batch in _batches(sorted(found)):
            if claim is not None:
                claim.take({found[name] for name in batch})
            there = {f"{place}/{one}" for place in self._holdings.places() for one in self._holdings.versions(place)}
            gone = [name for name in batch if found[name] not in there]
            if gone and claim is not None:
                self._record()
                with trusted.store.exclusive():
                    trusted.store.remove(gone)
            self.removed += [Removed(what="a pointer to a removed release", where=f"_tuf/{name}") for name in gone]

    def _superseded_since(self, store: ListedStore, name: str, written: Mapping[str, float | None]) -> float | None:
        """The time at which the next version of a file was written, by the clock of the registry or of its signer."""
        version, _, role = name.partition(".")
        later = [int(one.partition(".")[0]) for one in written if one.partition(".")[2] == role]
        following = min((one for one in later if one > int(version)), default=None)
        if following is None:
            return None
        when = written[f"{following}.{role}"]
        return signed_at(store, f"{following}.{role}") if when is None else when

    def _trusted(self) -> Trusted | None:
        return read_trusted(self._holdings.root, self._trust)

    def _signed(self) -> dict[str, frozenset[str]]:
        trusted = self._trusted()
        return manifests_of(references(trusted.reading.states)) if trusted else {}

    def _is_old(self, written: float | None, least: float = 0.0) -> bool:
        return written is not None and self._now - written >= max(self._grace, least)

    def _time(self, place: str, version: str, stored: Stored) -> float | None:
        return self._pushed.get(f"{place}/{version}") if stored.written is None else stored.written

    def _written(self, leftover: Leftover) -> float | None:
        if leftover.written is None and leftover.release:
            return self._pushed.get(leftover.release)
        return leftover.written

    def _record(self) -> None:
        if not self._recorded:
            record(
                self._holdings.root, what="gc", grace=f"{self._grace:g} s", retention=self._retention.model_dump_json()
            )
            self._recorded = True


def _batches(items: Sequence[_Item], size: int = _BATCH) -> Iterator[list[_Item]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
