"""Verification, garbage collection, repair, and mirrors of every kind of registry, against real servers."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core.errors import RegistryError
from components.object_store import gcs
from components.object_store.oci import transport
from components.push import audit, folder_files
from components.push.audit import read_log, record
from components.push.beside import AUDIT, notes_at
from components.push.several import publish
from components.push.upkeep import files
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.push.upkeep.mirror import mirror
from components.push.upkeep.repair import repair
from components.push.upkeep.retention import Retention, outdated
from tests.components.push.places import FILE_KINDS, KINDS, MODEL, Place, Store, manifest_of, store_of
from tests.gateway import DROPPED, Fault

OTHER = MODEL[::-1]
VERSION = hashlib.sha256(MODEL).hexdigest()[:16]
_LOG = ("_audit/", "tag edgemill-audit:")
HERE = f"phone/shoes/{VERSION}"


@pytest.fixture(scope="module")
def stores() -> Iterator[dict[str, Store]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield {kind: stack.enter_context(store_of(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Place:
    return stores[request.param].place(tmp_path / "registry")


@pytest.fixture(params=FILE_KINDS)
def file_place(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Place:
    return stores[request.param].place(tmp_path / "registry")


def releases(place: Place) -> dict[str, bytes]:
    """Everything but the audit log."""
    return {name: content for name, content in place.files.all().items() if not name.startswith(_LOG)}


def test_intact_registry_is_verified_and_unchanged(place: Place) -> None:
    place.push(), place.push(OTHER, channel="beta")
    before = place.files.all()
    health = verify(place.root)
    assert not health.problems, health.problems
    assert (health.signed, health.places, health.releases, health.channels, health.files) == (False, 1, 2, 2, 10)
    assert health.bytes > 2 * len(MODEL)
    assert health.strangers == health.incomplete == ()
    assert place.files.all() == before


@pytest.mark.parametrize("file", ["model.tflite", "model.tflite.gz", "manifest.json"])
def test_every_damaged_file_is_named(place: Place, file: str) -> None:
    place.push(OTHER), place.push()
    content = place.files.all()[f"{HERE}/{file}"]
    place.files.write(f"{HERE}/{file}", content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    health = verify(place.root)
    assert [one.where for one in health.problems][:1] == [HERE]
    assert health.releases == 1
    place.files.remove(f"{HERE}/{file}")
    health = verify(place.root)
    if file == "manifest.json" and place.spec.kind != "oci":
        # Without its manifest, no push has completed it. The channel names it.
        assert health.incomplete == (HERE,)
        assert [one.where for one in health.problems] == ["phone/shoes: stable"]
    else:
        assert health.problems[0].where == HERE


@pytest.mark.parametrize("target", KINDS)
def test_mirror_is_the_same_byte_by_byte_and_a_second_one_changes_nothing(
    place: Place, target: str, stores: dict[str, Store], tmp_path: Path
) -> None:
    place.push(OTHER), place.push(), place.push(channel="beta")
    copy = other_place(place, stores[target], tmp_path)
    both = (f"phone/shoes/{hashlib.sha256(OTHER).hexdigest()[:16]}", HERE)
    assert mirror(place.root, copy.root, dry_run=True).copied == both
    assert copy.files.all() == {}
    done = mirror(place.root, copy.root)
    assert (len(done.copied), done.problems, len(done.pointed)) == (2, (), 2)
    if (target == "oci") == (place.spec.kind == "oci"):
        assert releases(copy) == releases(place)
    assert copy.current() is not None
    assert copy.current().manifest == place.current().manifest
    again = mirror(place.root, copy.root)
    assert (again.copied, again.unchanged, again.pointed, again.bytes) == ((), 2, (), 0)
    assert not verify(copy.root).problems
    # And back, into a folder, byte by byte.
    back = stores["local"].place(tmp_path / "back")
    mirror(copy.root, back.root)
    assert {name: content for name, content in releases(back).items() if name.count("/") == 3} == {
        name: content for name, content in releases(place).items() if name.count("/") == 3}  # fmt: skip
    assert place.artifact(VERSION) == copy.artifact(VERSION) == back.artifact(VERSION)


def other_place(place: Place, store: Store, folder: Path) -> Place:
    """A registry of a different root. The server of `oci` isn't emptied for it."""
    clear = store.oci.clear if store.oci else None
    if store.oci:
        store.oci.clear = lambda: None  # type: ignore[method-assign]
    try:
        return store.place(folder / "mirror")
    finally:
        if store.oci and clear:
            store.oci.clear = clear  # type: ignore[method-assign]


def kill_a_push(place: Place, model: bytes) -> None:
    """Leave what a push of a model leaves that is killed before its manifest."""
    version = hashlib.sha256(model).hexdigest()[:16]
    place.files.write(f"phone/shoes/{version}/model.tflite", model)


def test_leftovers_are_removed_after_the_grace_period_and_nothing_else(
    file_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_place.push()
    before = releases(file_place)
    kill_a_push(file_place, OTHER)
    file_place.files.write("phone/shoes/.staging-abcdefgh/model.tflite", OTHER)
    file_place.files.write(f"{HERE}/content/{'0' * 16}/card.md", b"of another decision")
    file_place.files.write("README.txt", b"by hand")
    young = collect(file_place.root, grace=3600.0)
    assert (young.removed, young.kept_young) == ((), 3)
    # Nobody knows whether a push still writes a temporary file, so it is kept for an hour in any case.
    assert collect(file_place.root, grace=0.0, dry_run=True).kept_young == 1
    monkeypatch.setattr(files, "STALE_SECONDS", 0.0)
    planned = collect(file_place.root, grace=0.0, dry_run=True)
    assert len(releases(file_place)) == len(before) + 4
    done = collect(file_place.root, grace=0.0)
    assert done.removed == planned.removed
    assert {one.what for one in done.removed} == {
        "a temporary file", "an incomplete release", "files of a replaced manifest"}  # fmt: skip
    assert releases(file_place) == {**before, "README.txt": b"by hand"}
    assert verify(file_place.root).strangers == ("README.txt",)
    assert collect(file_place.root, grace=0.0).removed == ()


def test_retention_keeps_the_newest_and_what_a_channel_names(place: Place) -> None:
    models = [MODEL + bytes([number]) for number in range(5)]
    publish([place.spec.model_copy(update={"channel": "beta"})], "phone", "shoes", models[0], manifest_of(models[0]))
    for model in models[1:]:
        publish([place.spec], "phone", "shoes", model, manifest_of(model))
    names = [hashlib.sha256(model).hexdigest()[:16] for model in models]
    assert collect(place.root, Retention(keep_last=2), grace=3600.0).removed == ()
    assert collect(place.root, Retention(max_age=1e6), grace=0.0).removed == ()
    done = collect(place.root, Retention(keep_last=2), grace=0.0)
    assert [one.where for one in done.removed] == [f"phone/shoes/{one}" for one in names[1:3]]
    assert set(place.versions()) == {names[0], names[3], names[4]}
    assert not verify(place.root).problems
    assert collect(place.root, Retention(keep_last=2), grace=0.0).removed == ()


def stores_local(folder: Path) -> Place:
    """A registry in a folder."""
    return Store("local", None).place(folder / "full")


def test_model_and_compressed_form_restore_each_other(place: Place) -> None:
    place.push()
    good = place.files.all()
    for file in ("model.tflite", "model.tflite.gz"):
        place.files.remove(f"{HERE}/{file}")
        assert repair(place.root, dry_run=True).restored == (f"{HERE}/{file}",)
        assert verify(place.root).problems
        done = repair(place.root)
        assert (done.restored, done.problems) == ((f"{HERE}/{file}",), ())
        assert {name: one for name, one in place.files.all().items() if "audit" not in name} == good


def test_damaged_release_comes_from_a_registry_or_a_run_and_only_with_its_digest(
    place: Place, tmp_path: Path, stores: dict[str, Store]
) -> None:
    place.push()
    mirror(place.root, str(tmp_path / "mirror"))
    good = place.files.all()

    def damage() -> None:
        for file in ("model.tflite", "model.tflite.gz"):
            place.files.remove(f"{HERE}/{file}")

    damage()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.tflite").write_bytes(OTHER)
    done = repair(place.root, [str(tmp_path / "run")])
    assert done.restored == ()
    assert [one.where for one in done.problems] == [HERE, "phone/shoes: stable"]
    (tmp_path / "run" / "candidate.tflite").write_bytes(MODEL)
    assert not repair(place.root, [str(tmp_path / "run")]).problems
    damage()
    assert not repair(place.root, [str(tmp_path / "mirror")]).problems
    assert {name: one for name, one in place.files.all().items() if "audit" not in name} == {
        name: one for name, one in good.items() if "audit" not in name}  # fmt: skip


def test_blob_that_docker_keeps_damaged_is_reported(stores: dict[str, Store], tmp_path: Path) -> None:
    place = stores["oci"].place(tmp_path)
    place.push()
    place.files.write(f"{HERE}/model.tflite", OTHER)
    (problem, _) = repair(place.root).problems
    assert "the registry keeps the damaged blob" in problem.message


def test_killed_push_is_completed_from_a_mirror_or_left_to_the_collection(file_place: Place, tmp_path: Path) -> None:
    version = hashlib.sha256(OTHER).hexdigest()[:16]
    Place(file_place.spec, file_place.files).push()
    kill_a_push(file_place, OTHER)
    assert repair(file_place.root).incomplete == (f"phone/shoes/{version}",)
    full = stores_local(tmp_path)
    full.push(OTHER)
    assert repair(file_place.root, [full.root]).completed == (f"phone/shoes/{version}",)
    assert verify(file_place.root).releases == 2


def test_release_that_a_channel_names_and_somebody_removed_comes_from_a_mirror(
    file_place: Place, tmp_path: Path
) -> None:
    file_place.push(OTHER), file_place.push()
    mirror(file_place.root, copy := str(tmp_path / "mirror"))
    file_place.remove(VERSION)
    assert verify(file_place.root).problems
    assert HERE not in {one.where for one in repair(file_place.root).problems}  # Only a source could have it.
    done = repair(file_place.root, [copy])
    assert done.problems == ()
    assert any(one.startswith(HERE) for one in done.restored)
    assert verify(file_place.root).releases == 2
    assert not verify(file_place.root).problems


def test_registry_that_lost_everything_but_its_log_is_not_intact(file_place: Place, tmp_path: Path) -> None:
    file_place.publish(MODEL)
    other = str(tmp_path / "mirror")
    mirror(file_place.root, other)
    for name in releases(file_place):
        file_place.files.remove(name)
    ((problem),) = verify(file_place.root).problems
    assert (problem.where, f"{HERE}: this release was pushed" in problem.message) == (HERE, True)
    mirror(other, file_place.root)
    assert (verify(file_place.root).problems, verify(file_place.root).releases) == ((), 1)


def test_registry_whose_only_push_was_killed_and_collected_is_intact(tmp_path: Path) -> None:
    record(str(tmp_path), HERE, what="push")
    assert verify(str(tmp_path)).problems
    record(str(tmp_path), what="gc")
    assert not verify(str(tmp_path)).problems


def test_pointer_that_is_damaged_is_restored_from_a_mirror(file_place: Place, tmp_path: Path) -> None:
    file_place.push(OTHER), file_place.push()
    mirror(file_place.root, str(tmp_path / "mirror"))
    file_place.files.write("phone/shoes/stable.json", b"{")
    assert repair(file_place.root).problems
    assert repair(file_place.root, [str(tmp_path / "mirror")]).restored == ("phone/shoes: stable",)
    assert file_place.current() is not None


def test_log_names_who_changed_what_and_every_change_of_it_is_noticed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEMILL_ACTOR", "nightly build 7\n")
    for model in (MODEL, OTHER):
        publish([place.spec], "phone", "shoes", model, manifest_of(model))
    record(place.root, "phone/shoes", what="rollback")
    log = read_log(place.root)
    assert [(one.level, one.who, one.what) for one in log.entries.values()] == [
        (1, "nightly build 7", "push"), (2, "nightly build 7", "push"), (3, "nightly build 7", "rollback")]  # fmt: skip
    assert (log.problems, len(log.heads)) == ((), 1)
    notes = notes_at(place.root, AUDIT)
    _, second, last = notes.names()
    content = notes.read(second)
    assert content is not None
    notes.write(second, content.replace(b"nightly", b"weekly "))
    assert any("this entry was changed" in one for one in read_log(place.root).problems)
    notes.remove([second])
    assert any("this entry was removed. Remedy" in one for one in read_log(place.root).problems)
    notes.write(second, content)
    assert not read_log(place.root).problems
    notes.remove([last])
    assert not read_log(place.root).problems
    assert any("is missing" in one for one in read_log(place.root, log.heads[0]).problems)
    assert verify(place.root, contains=log.heads[0]).problems


def test_no_entry_is_lost_when_many_write_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_HINT_EVERY", 4)

    def write(number: int) -> None:
        for one in range(2):
            record(place.root, f"{number}-{one}", what="push")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log = read_log(place.root)
    assert log.problems == ()
    assert sorted(one.where for one in log.entries.values() if one.what == "push") == sorted(
        f"{number}-{one}" for number in range(4) for one in range(2)
    )
    # Whatever is written next names all that aren't named yet.
    record(place.root, what="push")
    assert len(read_log(place.root).heads) == 1


@pytest.mark.parametrize("seed", range(20))
def test_retention_keeps_what_it_says(seed: int) -> None:
    chance = random.Random(seed)
    now = 1e6
    pushed = sorted(((f"{n:x}", chance.uniform(0, now)) for n in range(12)), key=lambda one: one[1])
    named = set(chance.sample([version for version, _ in pushed], 3))
    last, age = chance.choice([None, 1, 5, 20]), chance.choice([None, 1.0, now / 2, 2 * now])
    gone = set(outdated(Retention(keep_last=last, max_age=age), pushed, named, now))
    for place, (version, when) in enumerate(pushed):
        is_new = last is not None and place >= len(pushed) - last
        is_young = age is not None and now - when <= age
        is_bounded = last is not None or age is not None
        assert (version in gone) == (is_bounded and not (version in named or is_new or is_young))


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("fault", [DROPPED, (503, "")], ids=["dropped", "503"])
def test_mirror_that_breaks_off_continues(
    kind: str, fault: Fault, stores: dict[str, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "_RETRY", gcs.DEFAULT_RETRY.with_delay(initial=0.01).with_timeout(0.3))
    monkeypatch.setattr(transport, "_FIRST_PAUSE_SECONDS", 0.01)
    source = stores_local(tmp_path)
    source.push(OTHER), source.push()
    copy, gateway = stores[kind].place(tmp_path), stores[kind].gateway
    assert gateway is not None
    for away in (5, 9):
        gateway.reset()
        gateway.fault = lambda number, line, first=away: fault if number >= first else None
        try:
            assert mirror(source.root, copy.root).problems
        except RegistryError as error:
            assert "run again" in error.remedy
        gateway.reset()
        assert not verify(copy.root).problems
    mirror(source.root, copy.root)
    assert verify(copy.root).releases == 2
    assert copy.current() is not None


@pytest.mark.parametrize("years", [-1, 1], ids=["behind", "ahead"])
def test_clock_a_year_wrong_at_a_push_loses_nothing_at_a_collection(tmp_path: Path, years: int) -> None:
    place = stores_local(tmp_path)
    for model in (OTHER, MODEL + b"a", MODEL):
        publish([place.spec], "phone", "shoes", model, manifest_of(model))
    wrong = time.time() + years * 365 * 86_400
    for path in Path(place.root).rglob("*.*"):
        os.utime(path, (wrong, wrong))
    done = collect(place.root, Retention(keep_last=1))
    # What seems to come from the future is young. What seems old is removed only if the policy says so.
    assert len(done.removed) == (2 if years < 0 else 0)
    assert place.current() is not None
    assert not verify(place.root).problems
    assert not read_log(place.root).problems


def test_full_disk_stops_a_mirror_and_room_continues_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = stores_local(tmp_path)
    source.push(OTHER), source.push()
    copy, written = str(tmp_path / "copy"), list[Path]()
    keep = folder_files.write_atomically

    def until_full(path: Path, content: bytes) -> None:
        if len(written) == 6:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        keep(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(folder_files, "write_atomically", until_full)
        done = mirror(source.root, copy)
    assert "No space left on device" in done.problems[0].message
    assert verify(copy).releases == 1
    assert not mirror(source.root, copy).problems
    assert verify(copy).releases == 2


def test_empty_folder_of_a_version_is_filled_by_the_next_push(tmp_path: Path) -> None:
    place = stores_local(tmp_path)
    Path(place.root, HERE).mkdir(parents=True)
    assert place.push() == place.current()
