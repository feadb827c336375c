"""Entries of an audit log that somebody planted or damaged: none of them stops a command or reaches another log."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.core.values import serialized
from components.object_store import notes
from components.push.audit import Entry, copy_log, lost_entries, read_log, record
from components.push.beside import AUDIT, notes_at


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "registry").mkdir()
    return str(tmp_path / "registry")


@pytest.fixture
def other(tmp_path: Path) -> str:
    (tmp_path / "other").mkdir()
    return str(tmp_path / "other")


def plant(root: str, content: bytes, level: int = 1) -> str:
    name = f"{level:08d}-{sha256_of_bytes(content)[:32]}"
    notes_at(root, AUDIT).write(name, content)
    return name


@pytest.mark.parametrize(
    "named", ["", "..", "../../stable.json", "a\0b", "x" * 5000, "00000001-", "99999999999-" + "0" * 32]
)
def test_entry_that_names_no_entries_is_reported_and_leads_nowhere(root: str, other: str, named: str) -> None:
    first = record(root, what="push")
    copy_log(root, other)
    odd = Entry.model_construct(
        level=1, previous=(named,), id="1", time=datetime.now(timezone.utc), who="me", what="push", where="", details={}
    )
    planted = plant(root, serialized(odd))
    assert read_log(root).lost == (planted,)
    assert list(read_log(root).entries) == [first]
    assert lost_entries(root, [other]) == {}


def test_entry_of_the_highest_level_is_refused_instead_of_followed_forever(root: str) -> None:
    record(root, what="push")
    planted = plant(root, b"", 99_999_999)
    with pytest.raises(RegistryError, match=f"{planted}: somebody put an entry into the audit log .*remove this entry"):
        record(root, what="push")
    assert len(notes_at(root, AUDIT).names()) == 2
    notes_at(root, AUDIT).remove([planted])
    assert record(root, what="push").startswith("00000002-")


def test_source_with_an_endless_entry_does_not_hide_the_next_source(
    root: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = record(root, what="push"), record(root, what="push")
    (tmp_path / "third").mkdir()
    copy_log(root, other), copy_log(root, str(tmp_path / "third"))
    content = notes_at(root, AUDIT).read(first)
    monkeypatch.setattr(notes, "LONGEST_DOCUMENT", 10_000)
    notes_at(root, AUDIT).remove([first])
    notes_at(other, AUDIT).write(first, bytes(20_000))
    assert lost_entries(root, [other, str(tmp_path / "third")]) == {first: content}


def test_damaged_entry_is_not_copied(root: str, other: str) -> None:
    first, last = record(root, what="push"), record(root, what="push")
    notes_at(root, AUDIT).write(first, b"{}")
    copy_log(root, other)
    assert notes_at(other, AUDIT).names() == [last]
    assert read_log(other).lost == (first,)
