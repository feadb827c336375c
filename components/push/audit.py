"""The audit log of a registry: who changed what, and when.

Each entry is a separate note. Its name contains its level and its digest, and it names all entries of the last three
levels before it. So later entries name an entry that is missing if it was changed or removed. No write needs a
condition: two processes that write at the same time create two entries of one level. Each of them then reads the log
again. If others are so far ahead that later entries might not name its entry, it writes a link that does.

An entry is written before the change, except for the rollback of a channel without signatures. If the change fails, the
entry stays.

In a signed registry, the name of the entry about a change is signed with the timestamp. So nobody without its key can
remove that entry, or one before it. Later entries are signed by the next change, or by `refresh`.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Annotated

from pydantic import StringConstraints, ValidationError

from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.core.values import FrozenModel, serialized
from components.object_store.limits import TooLongError
from components.object_store.notes import Notes
from components.push.beside import AUDIT, notes_at
from components.push.registry import kind_at
from components.push.store_errors import explained

ACTOR = "EDGEMILL_ACTOR"
LINK = "link"
_NAME = re.compile(r"(\d{8})-([0-9a-f]{32})")
_HINT, _HINT_EVERY = "hint", 500
_HIGHEST_LEVEL = 10**8 - 1
_LONGEST_ACTOR = 200
_REMEDY = ". Remedy: find out who did it, and restore it with `edgemill registry repair --from` a mirror"
# The next entry names an entry that is at most this many levels behind the newest one, even if the next entry was begun
# before it and is written after it.
_NAMED_LEVELS, _LEAD = 3, 1


class Entry(FrozenModel):
    """One entry.

    Attributes:
        level: 1 for the first entry, then one more than the highest level before.
        previous: Names of the preceding entries.
        id: Random, so that no two entries are the same.
        time: When it was written, by the clock of the machine that wrote it (UTC).
        who: EDGEMILL_ACTOR, or the user and the machine.
        what: The change: push, promote, pause, rollback, refresh, rotate, init, delegate, gc, repair, or mirror; or
            link, which names an entry that others might not name.
        where: What was changed, below the registry's root.
        details: More about the change.
    """

    level: int
    previous: tuple[Annotated[str, StringConstraints(pattern=f"^{_NAME.pattern}$")], ...] = ()
    id: str
    time: datetime
    who: str
    what: str
    where: str = ""
    details: dict[str, str] = {}


class Log(FrozenModel):
    """The content of a log.

    Attributes:
        entries: Name -> entry, oldest first.
        heads: Names of the last entries, which no other entry names.
        problems: Evidence that the log was changed.
        lost: Names of the entries that were removed or changed.
    """

    entries: dict[str, Entry]
    heads: tuple[str, ...]
    problems: tuple[str, ...]
    lost: tuple[str, ...] = ()


def record(root: str, where: str = "", *, what: str, also: Iterable[str] = (), **details: object) -> str:
    """Append an entry with the fields of `Entry`, and return the name of the newest entry, which leads to it.

    Registries of a kind without notes have no log, and the name is empty. `also` lists further entries for it to name,
    regardless of their age.

    Raises:
        RegistryError: The log can't be written.
    """
    if not kind_at(root).notes:
        return ""
    with explained(root):
        notes = notes_at(root, AUDIT)
        own = append(notes, _listed(notes), what, where, details, also)
        while _level(own) < max(map(_level, known := _listed(notes))) - _LEAD:
            own = append(notes, [*known, own], LINK, "", {}, [own])
    return own


def newest(root: str) -> str:
    """Return the name of an entry of the highest level; empty without any.

    Raises:
        RegistryError: The log can't be read.
    """
    with explained(root):
        return max(_listed(notes_at(root, AUDIT)), default="")


def copy_log(source: str, target: str) -> list[str]:
    """Copy the entries that another log doesn't have, byte by byte, except for damaged ones.

    Returns:
        If there were any, the last entries of both logs. The next entry must name them, because the levels of two logs
        don't show which entries are new.

    Raises:
        RegistryError: A log can't be read or written.
    """
    with explained(source):
        taken = notes_at(source, AUDIT)
        theirs = [name for name in taken.names() if _NAME.fullmatch(name)]
    with explained(target):
        given = notes_at(target, AUDIT)
        held = {name for name in given.names() if _NAME.fullmatch(name)}
    copied = False
    for name in (one for one in theirs if one not in held):
        with explained(source):
            content = _intact(taken, name)
        if content is not None:
            with explained(target):
                given.write(name, content)
            copied = True
    return [*_last_levels(theirs), *_last_levels(held.difference(theirs))] if copied else []


def read_log(root: str, contains: str | None = None, signed: str = "") -> Log:
    """Read a log, and check its digests.

    Args:
        root: The registry.
        contains: Name of an entry that must be there, such as the last one that was seen before.
        signed: Name of the entry that is signed; empty without signatures.

    Raises:
        RegistryError: The log can't be read.
    """
    problems, entries, named, changed = [], dict[str, Entry](), set[str](), set[str]()
    with explained(root):
        notes = notes_at(root, AUDIT)
        for name in notes.names():
            if _NAME.fullmatch(name) is None:
                if name != _HINT:
                    problems.append(f"{name}: this is not an entry")
                continue
            try:
                content = notes.read(name) or b""
            except TooLongError:
                content = b""
            try:
                entry = Entry.model_validate_json(content)
            except ValidationError:
                problems.append(f"{name}: this entry cannot be read{_REMEDY}")
                changed.add(name)
                continue
            named.update(entry.previous)
            if name != _name(entry.level, content) or entry.level != max(map(_level, entry.previous), default=0) + 1:
                problems.append(f"{name}: this entry was changed{_REMEDY}")
                changed.add(name)
                continue
            entries[name] = entry
    problems += [f"{one}: this entry was removed{_REMEDY}" for one in sorted(named - set(entries) - changed)]
    if contains and contains not in entries:
        problems.append(f"{contains}: this entry is missing, and so may be those after it{_REMEDY}")
    if signed and signed not in {*entries, *named, *changed}:
        problems.append(f"{signed}: this entry is signed, and it was removed{_REMEDY}")
    heads = tuple(name for name in entries if name not in named)
    lost = sorted({*named, *changed, *([signed] if signed else [])} - set(entries))
    return Log(entries=entries, heads=heads, problems=tuple(problems), lost=tuple(lost))


def lost_entries(root: str, sources: Iterable[str], signed: str = "") -> dict[str, bytes]:
    """Find entries that were removed or changed in the logs of other registries, with the entries that these name.

    A name contains the digest of the entry, so no source can give another one.

    Args:
        root: The registry.
        sources: The others.
        signed: As for `read_log`.

    Returns:
        Name -> content.

    Raises:
        RegistryError: A log can't be read.
    """
    log, logs = read_log(root, signed=signed), {one: notes_at(one, AUDIT) for one in sources if kind_at(one).notes}
    found, wanted = dict[str, bytes](), list(log.lost)
    while wanted:
        name = wanted.pop()
        for source, notes in logs.items():
            with explained(source):
                content = _intact(notes, name)
            if content is None:
                continue
            with suppress(ValidationError):
                before = Entry.model_validate_json(content).previous
                found[name] = content
                wanted += [one for one in before if one not in log.entries and one not in found]
                break
    return found


def restore_entries(root: str, entries: Mapping[str, bytes]) -> None:
    """Write entries again that `lost_entries` has found. Raises a RegistryError if the log can't be written."""
    with explained(root):
        notes = notes_at(root, AUDIT)
        for name, content in entries.items():
            notes.write(name, content)


def actor() -> str:
    """The name by which the log records who makes a change."""
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
    # A hint that leads beyond the end is ignored.
    return [name for name in found or notes.names() if _NAME.fullmatch(name)]


def append(
    notes: Notes, known: Sequence[str], what: str, where: str, details: Mapping[str, object], also: Iterable[str]
) -> str:
    """Write an entry that names the last levels of the `known` names, and `also` others. Return its name."""
    before = {*_last_levels(known), *also}
    if (level := max(map(_level, before), default=0) + 1) > _HIGHEST_LEVEL:
        raise RegistryError(
            "somebody put an entry into the audit log that leaves no level for further ones",
            where=max(before),
            bound=f"a level below {_HIGHEST_LEVEL}",
            remedy="find out who did it, look at `edgemill registry verify`, and remove this entry",
        )
    entry = Entry(
        level=level,
        previous=tuple(sorted(before)),
        id=secrets.token_hex(4),
        time=datetime.now(timezone.utc),
        who=actor(),
        what=what,
        where=where,
        details={name: str(value) for name, value in details.items()},
    )
    content = serialized(entry)
    notes.write(name := _name(entry.level, content), content)
    if entry.level % _HINT_EVERY == 0:
        notes.write(_HINT, str(entry.level - _NAMED_LEVELS).encode())
    return name


def _intact(notes: Notes, name: str) -> bytes | None:
    """The content of an entry; None if it isn't there, or was changed."""
    with suppress(TooLongError):
        content = notes.read(name)
        return content if content is not None and name == _name(_level(name), content) else None
    return None


def _last_levels(names: Collection[str]) -> set[str]:
    highest = max(map(_level, names), default=0)
    return {name for name in names if _level(name) > highest - _NAMED_LEVELS}


def _name(level: int, content: bytes) -> str:
    return f"{level:08d}-{sha256_of_bytes(content)[:32]}"


def _level(name: str) -> int:
    return int(name[:8]) if _NAME.fullmatch(name) else 0
