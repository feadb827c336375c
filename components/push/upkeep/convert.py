"""Signs a registry that already has releases, which stay unchanged.

Everything is verified before the first key is created. The signatures then become valid in one step, with the first
root. So a registry is either still unsigned, or signed with all its releases. A conversion that was killed continues
when it is called again.

A channel is signed with the release that it names, and with the releases that it named before according to the audit
log. All other releases are signed in the archive of their place, from which `promote` takes them. The files of releases
don't change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from components.core.errors import RegistryError, counted
from components.core.values import FrozenModel
from components.push.audit import read_log, record
from components.push.beside import exists
from components.push.references import lacking, pointer, reference, released
from components.push.registry import opened_at, store_at
from components.push.release import MANIFEST_NAME
from components.push.signed import normal
from components.push.upkeep.check import verify
from components.push.upkeep.holdings import Holdings
from components.push.upkeep.opening import holdings_at
from components.trust.initial.keys import check_folder
from components.trust.initial.metadata import check_unsigned
from components.trust.keys import ROOT_NAME
from components.trust.names import ARCHIVE, CHANNELS, SIGNED, role_of
from components.trust.repository import SignedRegistry
from components.trust.rollout import LONGEST_HISTORY, ChannelState, ReleaseRef, Stage
from components.trust.setup import create

# Maximum number of problems in an error.
_MOST_NAMED = 5


class Signed(FrozenModel):
    """A registry that was signed.

    Attributes:
        registry: Its folder or address.
        releases: Number of its releases.
        channels: The channels that were signed with their releases, `<device class>/<name>/<channel>`.
        archived: Number of releases that no channel names, and that only an archive signs.
        lacks: Missing field of statements about its releases -> number of statements without it.
    """

    registry: str
    releases: int = 0
    channels: tuple[str, ...] = ()
    archived: int = 0
    lacks: dict[str, int] = {}


def sign(root: str, folder: Path, timestamp_days: int | None = None, places: tuple[str, ...] = ()) -> Signed:
    """Sign a registry with all its releases and channels, with a new set of development keys.

    Args:
        root: Its folder or address.
        folder: The folder for the keys.
        timestamp_days: Days until the timestamp expires; by default 7.
        places: Its places, `<device class>/<name>`, if it can't list them.

    Raises:
        RegistryError: It is already signed, something in it is damaged, one of its channels can't be signed, or its
            store ignores the conditions of writes.
        SpecError: The folder contains other keys.
    """
    root = normal(root)
    store = store_at(root)
    check_unsigned(root, store)
    holdings = holdings_at(root, places) if exists(root) else None
    classes = {place.partition("/")[0] for place in holdings.places()} if holdings else ()
    check_folder(root, folder, [role_of(one, channel) for one in classes for channel in SIGNED])
    # Without conditional writes, two machines could sign at the same time, and one signed set would replace the other.
    opened_at(root).check_writable()
    refs = _releases(holdings) if holdings else {}
    states = list(_states(holdings, refs)) if holdings else []
    registry = create(root, store, folder, timestamp_days, lambda: record(root, what="init"), states, pointer)
    if holdings is None or not refs:
        return Signed(registry=root)
    _follow(registry, holdings, states)
    # A place from the user can be empty.
    found = verify(root, tuple(one for one in places if one in holdings.places()), folder / ROOT_NAME)
    _refuse_problems(root, "it is signed now, but damaged", {one.where: one.message for one in found.problems})
    return Signed(
        registry=root,
        releases=len(refs),
        channels=tuple(f"{one.device_class}/{one.name}/{one.channel}" for one in states if one.channel != ARCHIVE),
        archived=sum(len(one.history) for one in states if one.channel == ARCHIVE),
        lacks=_lacks(refs),
    )


def _releases(holdings: Holdings) -> dict[str, ReleaseRef]:
    """Verify all releases and channels, and return the statement to sign for each, `<device class>/<name>/<version>`.

    Raises:
        RegistryError: Something is damaged, or a channel can't be signed.
    """
    found: dict[str, ReleaseRef] = {}
    problems: dict[str, str] = {}
    for place in holdings.places():
        for version, stored in holdings.versions(place).items():
            if not stored.complete:
                continue  # The push didn't complete it, and no device sees it.
            try:
                copy = holdings.read(place, version)
                found[f"{place}/{version}"] = reference(copy.release, written=copy.files[MANIFEST_NAME])
            except RegistryError as error:
                problems[f"{place}/{version}"] = str(error)
        for channel, named in holdings.channels(place).items():
            if isinstance(named, RegistryError):
                if str(named) not in problems.values():
                    problems[f"{place}: {channel}"] = str(named)
            elif channel not in CHANNELS:
                problems[f"{place}: {channel}"] = (
                    f"{holdings.root}/{place}: {channel}: this channel can't be signed: only {', '.join(CHANNELS)} can."
                    " Move its readers to one of these, and remove its pointer"
                )
    _refuse_problems(holdings.root, "this registry can't be signed as it is", problems)
    return found


def _states(holdings: Holdings, refs: Mapping[str, ReleaseRef]) -> Iterator[ChannelState]:
    pushed = [one for one in read_log(holdings.root).entries.values() if one.what == "push"]
    for place in holdings.places():
        device_class, _, name = place.partition("/")
        left = {key: ref for key, ref in refs.items() if key.rpartition("/")[0] == place}
        for channel, version in sorted(holdings.named(place).items()):
            if (ref := refs.get(f"{place}/{version}")) is None:
                continue  # A push has just moved it: see `_follow`.
            before = [one.where for one in pushed if one.details.get("channel") == channel and one.where in refs]
            newest_first = dict.fromkeys(one for one in reversed(before) if one.rpartition("/")[0] == place)
            history = [refs[one] for one in newest_first if refs[one] != ref][:LONGEST_HISTORY]
            yield ChannelState(device_class, name, channel, (Stage(ref),), tuple(history), sequence=1)
            for one in (ref, *history):
                left.pop(f"{place}/{one.version}", None)
        if left:
            yield ChannelState(device_class, name, ARCHIVE, history=tuple(left.values()), sequence=1)


def _follow(registry: SignedRegistry, holdings: Holdings, states: list[ChannelState]) -> None:
    """Sign changes that pushes without keys have made since the channels were read."""
    known = {(one.device_class, one.name, one.channel): one.complete for one in states}
    for place in holdings.places():
        device_class, _, name = place.partition("/")
        for channel, version in holdings.named(place).items():
            before = known.get((device_class, name, channel))
            if channel not in CHANNELS or version is None or (before and before.version == version):
                continue
            copy = holdings.read(place, version)
            ref = reference(copy.release, written=copy.files[MANIFEST_NAME])
            registry.change_channel(device_class, name, channel, lambda state, ref=ref: released(state, ref), pointer)  # type: ignore[misc]


def _lacks(refs: Mapping[str, ReleaseRef]) -> dict[str, int]:
    found: dict[str, int] = {}
    for ref in refs.values():
        materials = {one["name"]: "" for one in ref.statement["predicate"]["materials"]}
        for what in lacking(materials):
            found[what] = found.get(what, 0) + 1
    return found


def _refuse_problems(root: str, what: str, problems: Mapping[str, str]) -> None:
    if problems:
        named = list(problems.values())[:_MOST_NAMED]
        more = f"; and {len(problems) - len(named)} more" if len(problems) > len(named) else ""
        raise RegistryError(
            what,
            where=root,
            bound="files that match their manifests, and channels that name intact releases",
            measured=f"{counted(len(problems), 'problem')}: {'; '.join(named)}{more}",
            remedy="repair it: `edgemill registry repair`, or move the damaged files away; then run again",
        )
