"""Derives from signed metadata whether the clocks of this machine and of the last signing machine are correct."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from tuf.api.metadata import Metadata

from components.core.errors import RegistryError
from components.trust.names import SIGNED_AT
from components.trust.signed_set import SignedSet, expiry_days, read_role
from components.trust.storage import Store

_TOLERANCE = timedelta(days=1)
_FORM = "%Y-%m-%d %H:%M UTC"


def now() -> datetime:
    """The time of this machine, rounded to seconds as in signed metadata."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def check_clock(found: SignedSet, where: str) -> None:
    """Check that the clock of this machine isn't behind the last signature, before anything is signed.

    Raises:
        RegistryError: The clock is behind, so signatures would expire too early, or have already expired.
    """
    last, here = _signed_at(found), now()
    if here < last - _TOLERANCE:
        raise RegistryError(
            "the clock of this machine is behind the last signature of the registry",
            where=f"{where}: timestamp.json",
            bound=f"at least {last:{_FORM}}, when it was signed",
            measured=f"{here:{_FORM}}",
            remedy="set the clock. If it is right, the clock of the machine that signed last was ahead: sign everything"
            " again with `edgemill registry refresh --force`",
        )


def is_too_long(kind: str, metadata: Metadata[Any], days: dict[str, int]) -> bool:
    """Whether metadata expires later than it would if it were signed now. So a clock was ahead when it was signed."""
    return bool(metadata.signed.expires - now() > timedelta(days=days[kind]) + _TOLERANCE)


def wrong_times(store: Store, found: SignedSet, where: str) -> dict[str, str]:
    """Map the roles that have expired, or are valid for longer than their lifetime, to messages."""
    days = expiry_days(found.root.signed)
    said = {}
    for role, kind, metadata in _roles(store, found, where):
        expires = metadata.signed.expires
        if expires <= now():
            said[role] = f"it has expired on {expires:{_FORM}}, and devices refuse it: {_remedy(role, '')}"
        elif is_too_long(kind, metadata, days):
            said[role] = (
                f"it expires on {expires:{_FORM}}, but its lifetime is {days[kind]} days: a clock was ahead, and"
                f" devices detect too late that updates are withheld: {_remedy(role, ' --force')}"
            )
    return said


def _roles(store: Store, found: SignedSet, where: str) -> Iterator[tuple[str, str, Metadata[Any]]]:
    for role in ("root", "targets", "snapshot", "timestamp"):
        yield role, role, getattr(found, role)
    delegations = found.targets.signed.delegations
    for role in (delegations.roles or {}) if delegations else {}:
        if (metadata := read_role(store, found, role, where)) is not None:
            yield role, "channels", metadata


def _remedy(role: str, options: str) -> str:
    if role == "root":
        return "rotate a top-level role with `edgemill registry rotate`"
    return f"sign it again with `edgemill registry refresh{options}`"


def _signed_at(found: SignedSet) -> datetime:
    """When the timestamp was signed, according to its own field or its expiry."""
    timestamp = found.timestamp.signed
    try:
        said = datetime.strptime(str(timestamp.unrecognized_fields.get(SIGNED_AT)), "%Y-%m-%dT%H:%M:%SZ")
        return said.replace(tzinfo=timezone.utc)
    except ValueError:
        return timestamp.expires - timedelta(days=expiry_days(found.root.signed)["timestamp"])
