"""Signed registries behind the registry protocol: the signed channel changes first, then the plain pointer follows.

A device reads only the signed channel. The pointer is for readers that don't verify signatures, and for manual
rollbacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from components.core.errors import RegistryError
from components.push.audit import record
from components.push.beside import normal_root
from components.push.references import NO_LINEAGE, manifest_digest, pointer, reference, released
from components.push.registry import Located, Registry, kind_at, known_forms, registry_at, store_at
from components.push.release import Release
from components.push.release_files import PART_PATTERN
from components.push.upkeep.opening import check_kept, holdings_at
from components.push.upkeep.releases.signed_files import read_signed
from components.spec.registry import BaseRegistry
from components.trust import rollout
from components.trust.keys import VARIABLE, KeySet, key_sets
from components.trust.storage import Remembering, Store

if TYPE_CHECKING:
    from components.trust.repository import SignedRegistry


def signed_root(spec: BaseRegistry) -> str | None:
    """The root of a kind of registry that can be signed; None for other kinds."""
    return normal(spec.place) if spec.signed_store else None


def can_be_signed(address: str) -> bool:
    """Whether an address belongs to a kind of registry that can be signed. Raises the same errors as `kind_at`."""
    return bool(kind_at(address).signed_store)


def normal(root: str) -> str:
    """A root in the form that key sets contain.

    Raises:
        RegistryError: Its kind can't be signed.
        SpecError: It isn't an address of a registry.
    """
    if not can_be_signed(root):
        raise RegistryError(
            "this kind of registry cannot be signed", where=root, bound=known_forms(), remedy="use one of these kinds"
        )
    return normal_root(root)


def open_signed(root: str) -> SignedRegistry | None:
    """Open a signed registry with the keys that the environment variable names; None if it isn't signed.

    Raises:
        RegistryError: There is no key set for this registry, or the registry was signed and no longer is.
        SpecError: A key set can't be read.
    """
    from components.trust.repository import SignedRegistry
    from components.trust.signed_set import is_signed

    root = normal(root)
    store = Remembering(store_at(root))
    keys = key_set_of(root, store)
    if not is_signed(store):
        if keys is not None:
            raise not_signed_any_more(
                root,
                store,
                f"restore it, or give these credentials read access to it. If you removed it yourself, unset "
                f"{VARIABLE}",
            )
        return None
    if keys is None:
        raise RegistryError(
            "this registry is signed, but there is no key set for it here",
            where=root,
            bound="the folder that `edgemill registry init` made",
            measured=", ".join(str(one.folder) for one in key_sets()) or "no key set",
            remedy=f"set {VARIABLE} to the folder of its keys",
        )
    return SignedRegistry(root, store, keys)


def not_signed_any_more(root: str, store: Store, remedy: str) -> RegistryError:
    """The error for a registry that isn't signed, although a key set is for it."""
    from components.trust.signed_set import is_half_signed

    if is_half_signed(store):
        return RegistryError(
            "the first signing of this registry was not finished",
            where=root,
            remedy="run `edgemill registry init` again, with the same --keys",
        )
    return RegistryError(
        "this registry was signed, and its signed metadata is missing",
        where=root,
        bound=store.words,
        remedy=remedy,
    )


def key_set_of(root: str, store: Store) -> KeySet | None:
    """The key set of this machine that is for a registry, or None."""
    from components.trust.signed_set import FIRST_ROOT_NAME

    first = store.read(FIRST_ROOT_NAME)
    return next((one for one in key_sets() if _leads_from(one, root, first.content if first else None)), None)


def commit(spec: BaseRegistry, registry: Registry, release: Release, lineage: Mapping[str, str] = NO_LINEAGE) -> bool:
    """Commit a release to its channel, and return whether that was signed. Before that, the audit log gets an entry.

    `lineage` has the IDs of the run and of its artifacts in ML Metadata. They are signed with the release.
    """
    entry, root = "", signed_root(spec)
    signed = open_signed(root) if root else None
    if signed is not None:
        signed.check_keys(release.manifest.device_class, spec.channel)
    if spec.notes:
        where = f"{release.manifest.device_class}/{release.manifest.name}/{release.version}"
        entry = record(
            normal_root(spec.place),
            where,
            what="push",
            also=signed.logged() if signed else (),
            channel=spec.channel,
            manifest=release.manifest_sha256,
        )
    if signed is None:
        registry.commit(release)
        return False
    signed.entry = entry
    place = (release.manifest.device_class, release.manifest.name, spec.channel)
    ref = reference(release, lineage)
    signed.change_channel(*place, lambda state: released(state, ref), pointer)
    registry.commit(release)
    # Another push can have signed after this one, but have moved the pointer before it.
    settled = signed.channel(*place).complete
    if settled is not None and _identity(settled) != (release.version, release.manifest_sha256):
        _follow(release.path.rpartition("/")[0], spec.channel, settled)
    return True


def check_signable(specs: Sequence[BaseRegistry], device_classes: Sequence[str]) -> None:
    """Check before a run that every registry can be signed, or none is signed.

    Raises:
        RegistryError: Some registries are signed and some aren't, or keys are missing.
    """
    found = {spec.place: open_signed(root) if (root := signed_root(spec)) else None for spec in specs}
    unsigned = [place for place, signed in found.items() if signed is None]
    if unsigned and len(unsigned) < len(found):
        raise RegistryError(
            "some of the registries are signed and some are not",
            bound="all of them signed, or none",
            measured=f"not signed: {', '.join(unsigned)}",
            remedy="sign them with `edgemill registry init`, or push to them in another pipeline",
        )
    for spec in specs:
        if (signed := found[spec.place]) is not None:
            for device_class in device_classes:
                signed.check_keys(device_class, spec.channel)


def change(
    address: str,
    channel: str,
    edit: Callable[[rollout.ChannelState], rollout.ChannelState],
    what: str,
    *,
    verified: tuple[str, str] = ("", ""),
    **details: str,
) -> rollout.ChannelState:
    """Change a signed channel of the pipeline at `<root>/<device class>/<name>`, and let the pointer follow.

    Releases that the channel doesn't have yet are verified before anything is signed, each one once.

    Args:
        address: The location of the pipeline's releases for the device class.
        channel: The channel.
        edit: The change.
        what, details: For the audit log.
        verified: Version of a release that was verified before, and the digest of its manifest.

    Raises:
        RegistryError: The registry isn't signed, keys are missing, a release is damaged, or the channel doesn't allow
            the change.
    """
    from components.trust.repository import change_refused, check_channel

    root, device_class, name = _split(address.rstrip("/"))
    signed = open_signed(root)
    if signed is None:
        raise RegistryError(
            "this registry is not signed",
            where=root,
            bound="a signed registry, as REGISTRY/DEVICE_CLASS/NAME",
            remedy="correct the place; or sign the registry with `edgemill registry init`, or use `edgemill rollback`, "
            "which needs no keys",
        )
    check_channel(channel, root)
    address, known, taken = address.rstrip("/"), {verified}, set[str]()

    def checked(state: rollout.ChannelState) -> rollout.ChannelState:
        new, had = edit(state), {_identity(stage.release) for stage in state.stages}
        for ref in (stage.release for stage in new.stages):
            if _identity(ref) not in had:
                taken.add(ref.version)
            if _identity(ref) not in had | known:
                read_signed(holdings_at(root), f"{device_class}/{name}", ref.version, [ref])
                known.add(_identity(ref))
        return new

    # Don't do this while other changes wait for the lock of an OCI registry.
    before = signed.channel(device_class, name, channel)
    try:
        checked(before)
    except rollout.RolloutError as error:
        raise change_refused(error, before, root) from error
    signed.check_keys(device_class, channel)
    place = f"{device_class}/{name}"
    signed.entry = record(normal_root(root), place, what=what, also=signed.logged(), channel=channel, **details)
    state = signed.change_channel(device_class, name, channel, checked, pointer)
    check_kept(root, place, taken)
    if state.complete is not None:
        _follow(address, channel, state.complete)
    return state


def promote(address: str, channel: str, share: int, found: Located | None = None) -> rollout.ChannelState:
    """Give a share of a channel's devices a release that another channel of the same pipeline has signed.

    `found` is the release at the address, if it was verified before.

    Raises:
        RegistryError: The release is damaged, no channel has signed it, or the channel doesn't allow the change.
    """
    from components.trust.repository import check_channel

    check_channel(channel, address)
    found = found or registry_at(address).resolve(address)
    place, _, version = found.address.rpartition("/")
    root, device_class, name = _split(place)
    registry = open_signed(root)
    states = registry.channels(f"{device_class}.") if registry else []
    known: dict[str, list[rollout.ReleaseRef]] = {}
    # Other channels come first: what the channel itself has signed about the release can be older.
    for state in sorted((one for one in states if one.name == name), key=lambda one: one.channel == channel):
        for ref in (*(stage.release for stage in state.stages), *state.history):
            known.setdefault(ref.version, []).append(ref)
    if registry is not None and all(ref.sha256 != found.sha256 for ref in known.get(version, ())):
        raise RegistryError(
            "no channel has signed this release",
            where=found.address,
            bound=", ".join(known) or "no release is signed",
            measured=version,
            remedy="push the model to a channel of the signed registry first",
        )
    # The newest decision about the model that is signed.
    chosen = sorted(known.get(version, ()), key=lambda ref: manifest_digest(ref) != found.manifest_sha256)
    return change(
        place,
        channel,
        lambda state: rollout.released(state, chosen[0], share),
        "promote",
        verified=(version, found.manifest_sha256 or ""),
        release=version,
        percent=f"{share / 100:g}",
    )


def _follow(place: str, channel: str, ref: rollout.ReleaseRef) -> None:
    """Let the pointer of a channel follow the release that is signed."""
    registry_at(place).follow(f"{place}/{ref.version}", channel, ref)


def _split(place: str) -> tuple[str, str, str]:
    """Split a location into the registry's root, the device class, and the name."""
    root, *parts = place.rsplit("/", 2)
    if not root or len(parts) != 2 or not all(map(PART_PATTERN.fullmatch, parts)):
        raise RegistryError(
            "this is not a place in a registry",
            where=place,
            bound="REGISTRY/DEVICE_CLASS/NAME",
            remedy="specify the registry, the device class, and the pipeline",
        )
    return root, parts[0], parts[1]


def _identity(ref: rollout.ReleaseRef) -> tuple[str, str]:
    return ref.version, manifest_digest(ref)


def _leads_from(keys: KeySet, root: str, first: bytes | None) -> bool:
    """Whether a key set is for a registry: by its address, or by the root that it trusts."""
    return keys.file.registry == root or keys.root == first
