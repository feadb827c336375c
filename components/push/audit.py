"""The audit log of a registry: who changed what, and when.

Each entry is a note of its own, named by its level and its digest, and holds the digests of the entries before it. So
an entry that is changed or removed is missing from what its followers name. Entries have no order but that: two
processes can write at the same time, also where writes have no conditions. Each of them then reads the log again, and
links what the other one wrote.

An entry is written before the change, except for the rollback of a channel without signatures. If the change fails, the
entry stays.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from pydantic import ValidationError

from components.core.errors import StorageError
from components.core.files import sha256_of_bytes
from components.core.values import FrozenModel
from components.object_store.notes import Notes
from components.push.beside import AUDIT, notes_at
from components.push.store_errors import explained

ACTOR = "EDGEMILL_ACTOR"
LINK = "link"
_NAME = re.compile(r"(\d{8})-([0-9a-f]{16})")
_HINT, _HINT_EVERY = "hint", 500
_LONGEST_ACTOR = 200


class Entry(FrozenModel):
    """One entry.

    Attributes:
        level: 1 for the first entry, and one more than the highest of those before.
        previous: Digests of the entries before.
        id: Random, so that no two entries are the same.
        time: When it was written, by the clock of the machine that wrote it (UTC).
        who: EDGEMILL_ACTOR, or the user and the machine.
        what: The change: push, promote, pause, rollback, refresh, rotate, init, gc, repair, mirror; or link, for
            entries that were written at the same time.
        where: What was changed, below the registry's root.
        details: More about it.
    """

    level: int
    previous: tuple[str, ...] = ()
    id: str
    time: datetime
    who: str
    what: str
    where: str = ""
    details: dict[str, str] = {}


class Log(FrozenModel):
    """A log that was read.

    Attributes:
        entries: Digest -> entry, oldest first.
        heads: Digests of the entries that no other one names: the last one, and others only if a process was killed.
        problems: What shows that the log was changed.
    """

    entries: dict[str, Entry]
    heads: tuple[str, ...]
    problems: tuple[str, ...]


def record(root: str, where: str = "", *, what: str, **details: object) -> None:
    """Append an entry, by `Entry`'s fields.

    Raises:
        RegistryError: The log can't be written.
    """
    with explained(root):
        notes = notes_at(root, AUDIT)
        seen = _listed(notes)
        own = _append(notes, _newest(seen), what, where, details)
        while others := set(known := _listed(notes)) - set(seen) - {own}:
            # Written at the same time, so that neither names the other.
            seen = [*known, own]
            own = _append(notes, [own, *others], LINK, "", {})


def read_log(root: str, contains: str | None = None) -> Log:
    """Read a log, and check its digests.

    Args:
        root: The registry.
        contains: Beginning of the digest of an entry that must be there, such as the last one that was seen before.

    Raises:
        RegistryError: The log can't be read.
    """
    problems, entries, named = [], {}, set[str]()
    with explained(root):
        notes = notes_at(root, AUDIT)
        for name in notes.names():
            if (match := _NAME.fullmatch(name)) is None:
                if name != _HINT:
                    problems.append(f"{name}: this is not an entry")
                continue
            content = notes.read(name) or b""
            digest = sha256_of_bytes(content)
            try:
                entry = Entry.model_validate_json(content)
            except ValidationError:
                problems.append(f"{name}: this entry can't be read")
                continue
            if not digest.startswith(match[2]) or entry.level != int(match[1]):
                problems.append(f"{name}: this entry was changed")
                continue
            entries[digest] = entry
            named.update(entry.previous)
    for digest, entry in entries.items():
        levels = [entries[one].level for one in entry.previous if one in entries]
        if len(levels) == len(entry.previous) and entry.level != max(levels, default=0) + 1:
            problems.append(f"{digest[:16]}: this entry has level {entry.level}, which is not that of its place")
    problems += [f"{one[:16]}: this entry was removed or changed" for one in sorted(named - set(entries))]
    starts = [digest for digest, entry in entries.items() if not entry.previous]
    linked = {digest for digest in starts if digest in named}
    if len(starts) > 1 and len(linked) < len(starts) - 1:
        problems.append(f"the log has {len(starts)} beginnings: {', '.join(one[:16] for one in starts)}")
    if contains and not any(digest.startswith(contains) for digest in entries):
        problems.append(f"{contains}: this entry is missing, and so may be those after it")
    heads = tuple(digest for digest in entries if digest not in named)
    return Log(entries=entries, heads=heads, problems=tuple(problems))


def actor() -> str:
    """Who changes something, in the log."""
    named = os.environ.get(ACTOR, "").strip()
    if not named:
        try:
            named = f"{getpass.getuser()}@{socket.gethostname()}"
        except (OSError, KeyError):
            named = f"uid {os.getuid()}@{socket.gethostname()}"
    return "".join(one for one in named if one.isprintable())[:_LONGEST_ACTOR]


def _listed(notes: Notes) -> list[str]:
    hint = (notes.read(_HINT) or b"").decode(errors="replace")
    after = f"{int(hint):08d}" if re.fullmatch(r"\d{1,8}", hint) else ""
    found = notes.names(after) if after else []
    # A hint that leads behind the end counts for nothing.
    return [name for name in found or notes.names() if _NAME.fullmatch(name)]


def _newest(names: Sequence[str]) -> list[str]:
    level = max(names, default="")[:8]
    return [name for name in names if name[:8] == level]


def _append(notes: Notes, previous: Iterable[str], what: str, where: str, details: dict[str, object]) -> str:
    before = sorted(previous)
    level = max((int(name[:8]) for name in before), default=0) + 1
    entry = Entry(
        level=level,
        previous=tuple(sha256_of_bytes(_content(notes, name)) for name in before),
        id=secrets.token_hex(4),
        time=datetime.now(timezone.utc),
        who=actor(),
        what=what,
        where=where,
        details={name: str(value) for name, value in details.items()},
    )
    content = entry.model_dump_json(indent=2).encode() + b"\n"
    name = f"{level:08d}-{sha256_of_bytes(content)[:16]}"
    notes.write(name, content)
    if level % _HINT_EVERY == 0:
        notes.write(_HINT, str(level - 1).encode())
    return name


def _content(notes: Notes, name: str) -> bytes:
    content = notes.read(name)
    if content is None:
        raise StorageError(
            "an entry of the audit log has just been removed",
            where=name,
            remedy="find out who removes entries: `edgemill registry audit`",
        )
    return content
