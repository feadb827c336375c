"""Opens the contents of a registry at a folder or an address."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from components.core.errors import RegistryError, counted
from components.push.audit import newest
from components.push.beside import check_exists, normal_root
from components.push.claims import collected, settle
from components.push.registry import kind_at, referenced, store_at
from components.push.upkeep.holdings import Holdings


def holdings_at(root: str, places: Iterable[str] = ()) -> Holdings:
    """Open the registry at a folder or an address.

    Args:
        root: Its folder or address.
        places: The places to work on; by default all.

    Raises:
        RegistryError: There is no such folder, or this kind of registry can't be maintained.
        SpecError: It isn't an address of a registry.
    """
    root, kind = normal_root(root), kind_at(root)
    check_exists(root)
    if not kind.holdings:
        raise RegistryError(
            "this kind of registry cannot be maintained",
            where=root,
            remedy="use the tools of the registry itself",
        )
    found: Holdings = referenced(kind.holdings)(root, tuple(places))
    return found


def no_registry(root: str, strangers: int) -> RegistryError:
    """The error for an address without any files from pushes, but with this many other files."""
    return RegistryError(
        "there is no registry here",
        where=root,
        bound="a release, a channel, an audit log, or signed metadata",
        measured=f"{counted(strangers, 'file')}, none of them from a push" if strangers else "nothing",
        remedy="correct the address, or push a release first",
    )


def check_registry(holdings: Holdings) -> None:
    """Raise a RegistryError if nothing at an address is from a push, not even a leftover of a killed one."""
    root = holdings.root
    if newest(root) or (kind_at(root).signed_store and store_at(root).names()):
        return
    if not holdings.places() and not any(holdings.leftovers({})):
        raise no_registry(root, len(holdings.strangers()))


def places_in(holdings: Holdings, chosen: tuple[str, ...]) -> tuple[str, ...]:
    """List the places of a registry. Raises a RegistryError if a chosen one isn't among them."""
    found = holdings.places()
    if unknown := [one for one in chosen if one not in found]:
        raise no_such_place(holdings.root, unknown)
    return found


def no_such_place(root: str, unknown: Iterable[str]) -> RegistryError:
    """The error for chosen places with neither releases nor channels."""
    return RegistryError(
        "there is nothing in this place",
        where=root,
        bound="a place with releases or channels",
        measured=", ".join(unknown),
        remedy="correct --place: `edgemill registry status` lists the places",
    )


def check_kept(root: str, place: str, versions: Collection[str]) -> None:
    """Raise a CollectedError if a collection removed releases before a channel that has them now was signed."""
    if versions:
        settle(normal_root(root), {f"{place}/{version}" for version in versions})
        (holdings := holdings_at(root, (place,))).again(place)
        stored = holdings.versions(place)
        for version in sorted(versions):
            if (found := stored.get(version)) is None or not found.complete:
                raise collected(f"{root}/{place}/{version}")
