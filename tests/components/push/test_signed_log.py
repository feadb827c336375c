"""The audit log of a signed registry: what is signed of it can't be removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from components.core.errors import RegistryError
from components.push import signed
from components.push.audit import copy_log, newest, read_log, record
from components.push.beside import AUDIT, notes_at
from components.push.upkeep.check import verify
from components.push.upkeep.mirror import mirror
from components.push.upkeep.repair import repair
from components.trust import rollout
from components.trust.keys import VARIABLE
from components.trust.setup import renew
from edgemill.main import app
from tests.components.push.places import MODEL, Place

OTHER = MODEL[::-1]


@pytest.fixture
def place(signed_registry: Place) -> Place:
    return signed_registry


def push(place: Place, model: bytes) -> str:
    """Push a model, and return the name of the log's entry about it."""
    place.publish(model)
    return newest(signed.normal(place.root))


def remove(root: str, *names: str) -> None:
    notes_at(root, AUDIT).remove(names)


def audit(root: str, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["registry", "audit", root, *more])
    return done.exit_code, " ".join(done.output.split())


def test_log_of_every_kind_is_signed(place: Place) -> None:
    root = signed.normal(place.root)
    last = push(place, MODEL)
    assert audit(root)[1].endswith(f"{root}: 1 change, last {last}, signed")
    remove(root, last)
    code, said = audit(root)
    assert (code, f"BROKEN {last}: this entry is signed, and it was removed. Remedy: find out who" in said) == (
        1,
        True,
    ), said


def test_entry_that_is_signed_or_before_one_is_missed(folder: Place) -> None:
    root = signed.normal(folder.root)
    first, last = push(folder, MODEL), push(folder, OTHER)
    health = verify(root)
    assert (health.problems, health.signed_entry, health.last_entry) == ((), last, last)
    code, said = audit(root)
    assert (code, said.endswith(f"{root}: 2 changes, last {last}, signed")) == (0, True), said
    # An attacker without keys can only remove what was written since.
    later = record(root, what="gc")
    assert audit(root)[1].endswith(f"last {later}, signed until {last}")
    remove(root, later)
    assert not verify(root).problems
    kept = {name: notes_at(root, AUDIT).read(name) for name in (first, last)}
    for gone in ((last,), (first,), (first, last)):
        remove(root, *gone)
        assert any(one.where == "the audit log" for one in verify(root).problems)
        assert audit(root)[0] == 1
        with mock.patch.dict(os.environ, {VARIABLE: ""}):
            assert audit(root)[0] == 1
        for name in gone:
            notes_at(root, AUDIT).write(name, kept[name] or b"")
    assert not verify(root).problems


def test_every_signed_change_signs_its_entry(folder: Place) -> None:
    push(folder, MODEL), push(folder, OTHER)
    for change in (rollout.paused, rollout.rolled_back):
        signed.change(f"{folder.root}/phone/shoes", "stable", change, "change")
        assert verify(folder.root).signed_entry == newest(folder.root)
    for arguments in (["refresh", folder.root, "--force"], ["rotate", folder.root, "phone.stable"]):
        assert CliRunner().invoke(app, ["registry", *arguments]).exit_code == 0
        assert verify(folder.root).signed_entry == newest(folder.root)


def test_refresh_signs_the_log_although_nothing_expires(folder: Place) -> None:
    push(folder, MODEL)
    record(folder.root, what="gc")
    assert verify(folder.root).signed_entry != newest(folder.root)
    for said in ("signed again: timestamp", "nothing to sign again"):
        done = CliRunner().invoke(app, ["registry", "refresh", folder.root])
        assert (done.exit_code, said in done.output) == (0, True), done.output
        assert verify(folder.root).signed_entry == newest(folder.root)


def test_registry_that_signed_no_entry_yet_is_intact(folder: Place) -> None:
    registry = signed.open_signed(folder.root)
    assert registry is not None
    renew(registry, force=True)
    record(folder.root, what="gc")
    health = verify(folder.root)
    assert (health.problems, health.signed_entry) == ((), "")


def test_refused_signatures_do_not_hide_the_log(folder: Place) -> None:
    push(folder, MODEL)
    folder.files.write("_tuf/timestamp.json", b"{}")
    code, said = audit(folder.root)
    assert (code, "push phone/shoes/" in said, "signed metadata of the registry is refused" in said) == (1, True, True)


def test_mirror_has_the_log_of_its_source_and_goes_on_from_both(folder: Place, tmp_path: Path) -> None:
    copy = str(tmp_path / "mirror")
    push(folder, MODEL)
    mirror(folder.root, copy)
    own = [record(copy, what="gc") for _ in range(2)]
    for number in range(8):  # so that the levels of the source are far beyond those of the mirror
        push(folder, MODEL + bytes([number]))
    mirror(folder.root, copy)
    log = read_log(copy)
    assert set(read_log(folder.root).entries) | set(own) < set(log.entries)
    assert (log.problems, len(log.heads)) == ((), 1)
    health = verify(copy)
    assert (health.problems, health.signed_entry) == ((), verify(folder.root).signed_entry)
    # The same again adds nothing.
    mirror(folder.root, copy)
    assert read_log(copy) == log
    assert copy_log(folder.root, copy) == []
    remove(copy, own[0])
    assert verify(copy).problems


def test_repair_restores_entries_of_the_log_from_a_mirror(place: Place, tmp_path: Path) -> None:
    root, copy = signed.normal(place.root), str(tmp_path / "mirror")
    entries = [push(place, MODEL + bytes([number])) for number in range(5)]
    mirror(root, copy)
    whole = read_log(root)
    notes_at(root, AUDIT).write(entries[0], b"changed")
    remove(root, *entries[2:])
    problems = verify(root).problems
    assert {one.where for one in problems} == {"the audit log"}
    assert all("`edgemill registry repair --from` a mirror" in one.message for one in problems)
    # Without a source that has them, they are reported.
    assert {one.message for one in repair(root).problems} == {one.message for one in problems}
    planned = repair(root, [copy], dry_run=True)
    assert (len(planned.restored), planned.problems) == (4, ())
    assert verify(root).problems == problems
    # A source can't give an entry that wasn't there.
    other = str(tmp_path / "other")
    shutil.copytree(copy, other)
    notes_at(other, AUDIT).write(entries[-1], notes_at(other, AUDIT).read(entries[1]) or b"")
    assert len(repair(root, [other], dry_run=True).restored) == 1
    done = repair(root, [other, copy])
    assert (done.restored, done.problems) == (planned.restored, ())
    assert whole.entries.items() <= read_log(root).entries.items()
    assert not verify(root).problems


@pytest.mark.parametrize("key", ["timestamp.pem", "snapshot.pem", "phone.stable.pem"])
def test_log_has_no_change_that_lacks_a_key(folder: Place, tmp_path: Path, key: str) -> None:
    push(folder, MODEL), push(folder, OTHER)
    before = newest(folder.root)
    (tmp_path / "keys" / key).unlink()
    with pytest.raises(RegistryError, match="not enough keys to sign as"):
        folder.publish(MODEL[1:])
    for change in (rollout.paused, rollout.rolled_back):
        with pytest.raises(RegistryError, match="not enough keys to sign as"):
            signed.change(f"{folder.root}/phone/shoes", "stable", change, "change")
    if key != "phone.stable.pem":
        for arguments in (["refresh", folder.root, "--force"], ["delegate", folder.root, "watch"]):
            assert CliRunner().invoke(app, ["registry", *arguments]).exit_code == 1
    assert newest(folder.root) == before


def test_keys_count_that_another_process_added_with_the_first_push_of_a_device_class(folder: Place) -> None:
    opened = signed.open_signed(folder.root)
    assert opened is not None
    push(folder, MODEL)
    opened.check_keys("phone", "stable")
