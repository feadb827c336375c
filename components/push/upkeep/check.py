"""Verification of a complete registry: every file, manifest, channel, and signature. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.core.errors import RegistryError
from components.core.values import FrozenModel, Watch, unwatched
from components.push.audit import Log, read_log
from components.push.release import Release
from components.push.upkeep.holdings import Holdings
from components.push.upkeep.opening import holdings_at, no_such_place
from components.push.upkeep.releases.signed_files import check_current, read_signed
from components.push.upkeep.trusted import Trusted, read_trusted, references
from components.trust.clock import wrong_times


class Problem(FrozenModel):
    """A problem in a registry: where it is, and the complete message."""

    where: str
    message: str


class Health(FrozenModel):
    """The result of a verification.

    Attributes:
        registry: Its folder or address.
        signed: Whether it is signed, and the signatures are accepted.
        refused: Whether it was signed, and the signatures aren't accepted.
        anchored: Whether the signatures were verified from a root of this machine. False also without signatures.
        places: Number of places, `<device class>/<name>`.
        releases: Number of complete releases that are intact.
        channels: Number of channels that name an intact release.
        files: Number of files of the intact releases.
        bytes: Size of these files.
        entries: Number of entries of the audit log.
        last_entry: Name of its newest entry; empty without one.
        signed_entry: Name of the newest entry that is signed; empty without one.
        problems: The problems that make it invalid.
        incomplete: Releases that a push has not completed. `gc` removes them, and no device sees them.
        strangers: Files that no push writes.
    """

    registry: str
    signed: bool
    refused: bool = False
    anchored: bool
    places: int = 0
    releases: int = 0
    channels: int = 0
    files: int = 0
    bytes: int = 0
    entries: int = 0
    last_entry: str = ""
    signed_entry: str = ""
    problems: tuple[Problem, ...] = ()
    incomplete: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()


def verify(
    root: str,
    places: tuple[str, ...] = (),
    trust: Path | None = None,
    contains: str | None = None,
    watch: Watch = unwatched,
) -> Health:
    """Verify a registry.

    Args:
        root: Its folder or address.
        places: The places to verify, `<device class>/<name>`; by default all.
        trust: A root.json that the signatures must lead to.
        contains: Name of an entry that the audit log must contain.
        watch: Called with the number of releases that are done.

    Raises:
        RegistryError: The registry can't be read, or a chosen place is empty.
        SpecError: `trust` isn't a root.
    """
    holdings = holdings_at(root, places)
    problems: list[Problem] = []
    trusted: Trusted | None = None
    try:
        trusted = read_trusted(holdings.root, trust)
    except RegistryError as error:
        problems.append(Problem(where=error.where or holdings.root, message=str(error)))
    is_refused = bool(problems)
    signed = references(trusted.reading.states) if trusted else {}
    needed = references(trusted.reading.states, archived=False) if trusted else {}
    counts, incomplete = dict.fromkeys(("places", "releases", "channels", "files", "bytes"), 0), []
    seen: dict[str, Release | RegistryError] = {}
    found_places = holdings.places()
    known = {*found_places, *(here.rpartition("/")[0] for here in needed)}
    unknown = [one for one in places if one not in known]
    if unknown and not problems:
        raise no_such_place(holdings.root, unknown)
    total, done = sum(len(holdings.versions(place)) for place in found_places), 0
    for place in found_places:
        counts["places"] += 1
        for version, stored in holdings.versions(place).items():
            here = f"{place}/{version}"
            watch(done, total, f"reading {here}")
            done += 1
            if not stored.complete and here not in needed:
                incomplete.append(here)
                continue
            try:
                refs = signed.get(here, ())
                copies = read_signed(holdings, place, version, refs)
                check_current(holdings, place, version, refs)
            except RegistryError as error:
                seen[here] = error
                problems.append(Problem(where=here, message=str(error)))
                continue
            seen[here] = copies[0].release
            counts["releases"] += 1
            files = {item for one in copies for item in (*one.files.items(), *enumerate(one.artifact or ()))}
            counts["files"] += len(files)
            counts["bytes"] += sum(len(content) for _, content in files)
        for channel, found in holdings.channels(place).items():
            if not isinstance(found, RegistryError):
                counts["channels"] += 1
            elif str(found) not in {problem.message for problem in problems}:
                problems.append(Problem(where=f"{place}: {channel}", message=str(found)))
    if trusted is not None:
        for role, why in wrong_times(trusted.store, trusted.reading.found, holdings.root).items():
            problems.append(Problem(where=role, message=f"{holdings.root}: {role}: {why}"))
    problems += _missing(holdings, trusted, needed, seen, places)
    signed_entry = trusted.reading.found.log_entry if trusted else ""
    log = read_log(holdings.root, contains, signed_entry)
    problems += _in_log(holdings.root, log, is_empty=trusted is None and not (seen or problems or places))
    return Health(
        registry=holdings.root,
        signed=trusted is not None,
        refused=is_refused,
        anchored=trusted is not None and trusted.anchored,
        **counts,
        entries=len(log.entries),
        last_entry=log.heads[-1] if log.heads else "",
        signed_entry=signed_entry,
        problems=tuple(problems),
        incomplete=tuple(incomplete),
        strangers=holdings.strangers(),
    )


def _in_log(root: str, log: Log, *, is_empty: bool) -> list[Problem]:
    """The problems of the log, and its last push if the registry is empty and no collection came after that push."""
    found = [Problem(where="the audit log", message=one) for one in log.problems]
    changes = [one for one in log.entries.values() if one.what in {"push", "gc"}] if is_empty else []
    last = max(changes, key=lambda one: one.level, default=None)
    if last is not None and last.what == "push":
        what = "this release was pushed, says the audit log, and the registry is empty"
        remedy = "copy the registry from a mirror: `edgemill registry mirror`"
        found.append(Problem(where=last.where, message=f"{root}/{last.where}: {what}. Remedy: {remedy}"))
    return found


def _missing(
    holdings: Holdings,
    trusted: Trusted | None,
    needed: Iterable[str],
    seen: dict[str, Release | RegistryError],
    places: tuple[str, ...],
) -> list[Problem]:
    found = [
        Problem(where=here, message=f"{holdings.root}/{here}: a signed channel names this release, and it is missing")
        for here in needed
        if here not in seen and (not places or here.rpartition("/")[0] in places)
    ]
    if trusted is not None:
        found += [
            Problem(where=name, message=f"{holdings.root}: _tuf/{name}: this signed pointer is missing")
            for name in trusted.reading.missing
        ]
    return found
