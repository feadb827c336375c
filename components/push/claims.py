"""Claims: lists of what a collection is about to remove, so that a push of the same content waits for it.

A collection first writes a claim, then reads the channels again, and then removes files. A push first writes its
content or its channel, then reads the claims, and then checks that everything is still there. So at least one of them
sees the other. Neither needs conditional writes or a clock.

A collection renews its claim while it runs. A claim that doesn't change for `LEASE_SECONDS` belongs to a process that
was killed. A collection that was paused for that long stops removing files.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

from components.core.errors import RegistryError, StorageError
from components.object_store.notes import Notes
from components.push.beside import CLAIMS, notes_at

LEASE_SECONDS = 30.0
_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class Claim:
    """The claim of a running collection.

    Attributes:
        name: Its name among the claims.
    """

    def __init__(self, notes: Notes, where: str) -> None:
        self.name = secrets.token_hex(8)
        self._notes, self._where = notes, where
        self._releases: tuple[str, ...] = ()
        self._beat = 0
        self._written = self._checked = 0.0

    def take(self, releases: Iterable[str]) -> None:
        """Claim some releases, `<device class>/<name>/<version>`, instead of the previous ones."""
        self._releases = tuple(releases)
        self._write()

    def check(self) -> None:
        """Call before each removal. Renews the claim in time.

        Raises:
            RegistryError: The process was stopped for so long that others no longer wait for it.
        """
        age = time.monotonic() - self._written
        if time.monotonic() - self._checked < LEASE_SECONDS / 30:
            return
        if age > LEASE_SECONDS / 2 or self._notes.read(self.name) is None:
            raise RegistryError(
                "this collection was paused for too long, so it stopped removing files",
                where=self._where,
                bound=f"a renewed claim within {LEASE_SECONDS / 2:g} s",
                measured=f"{age:.0f} s",
                remedy="run it again",
            )
        self._checked = time.monotonic()
        if age > LEASE_SECONDS / 6:
            self._write()

    def end(self) -> None:
        """Remove the claim."""
        self._notes.remove([self.name])

    def now(self) -> float:
        """Return the time by the registry's clock at which the claim was written."""
        return self._notes.now(self.name)

    def _write(self) -> None:
        self._beat += 1
        # Set before the request, because others can see the claim at any time during the request.
        self._written = self._checked = time.monotonic()
        content = {"beat": self._beat, "releases": self._releases}
        self._notes.write(self.name, json.dumps(content).encode())


class CollectedError(RegistryError):
    """A collection removed a release between its `put` and its `commit`. Another `put` writes it again."""


def collected(where: str) -> CollectedError:
    """The error for a release that a collection has removed."""
    return CollectedError(
        "a collection has removed this release, so no device can get it",
        where=where,
        bound="a grace period that is longer than a push",
        remedy="push it again, and run `edgemill registry gc` with a longer --grace",
    )


def settle(root: str, releases: Collection[str] | None) -> None:
    """Wait until no collection claims any of the releases or, if they are None, until no other collection runs.

    The claims of killed collections are removed, if that is allowed.
    """
    notes = notes_at(root, CLAIMS)
    for name in notes.names():
        _wait_for(notes, name, releases)


def _wait_for(notes: Notes, name: str, releases: Collection[str] | None) -> None:
    content, since, pause = notes.read(name), time.monotonic(), _PAUSE_SECONDS
    while content is not None and _claims(content, releases):
        if time.monotonic() - since > LEASE_SECONDS:
            with suppress(StorageError):
                notes.remove([name])
            return
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        found = notes.read(name)
        if found != content:
            content, since = found, time.monotonic()


def _claims(content: bytes, releases: Collection[str] | None) -> bool:
    if releases is None:
        return True
    try:
        return not set(json.loads(content)["releases"]).isdisjoint(releases)
    except (ValueError, RecursionError, KeyError, TypeError):
        return True  # The claim's content can be anything.
