"""Opens the holdings of a registry at a folder or an address."""

from __future__ import annotations

from collections.abc import Iterable

from components.core.errors import RegistryError
from components.push.beside import check_exists, normal_root
from components.push.registry import kind_at, referenced
from components.push.upkeep.holdings import Holdings


def holdings_at(root: str, places: Iterable[str] = ()) -> Holdings:
    """Open the registry at a folder or an address.

    Args:
        root: Its folder or address.
        places: The places to work on; by default all.

    Raises:
        RegistryError: There is no such folder, or this kind of registry can't be looked after.
        SpecError: It isn't an address of a registry.
    """
    root, kind = normal_root(root), kind_at(root)
    check_exists(root)
    if not kind.holdings:
        raise RegistryError(
            "this kind of registry cannot be looked after",
            where=root,
            remedy="use the tools of the registry itself",
        )
    found: Holdings = referenced(kind.holdings)(root, tuple(places))
    return found
