"""An older signed set that somebody without keys puts back: nothing is signed on top of it, and it can be undone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from tuf.api.metadata import Metadata
from typer.testing import CliRunner

from components.push import signed
from components.push.audit import newest
from components.push.beside import AUDIT, notes_at
from components.push.upkeep.check import verify
from components.push.upkeep.mirror import mirror
from components.trust import rollout
from components.trust.memory import FOLDER_IN_KEYS, STATE, OlderError
from edgemill.main import app
from tests.components.push.places import MODEL, Place, Store, signed_in, store_of
from tests.forked import killed_at

OTHER, THIRD = MODEL[::-1], MODEL + b"3"
TIMESTAMP = "timestamp.json"
OLDER = "the signed metadata of the registry is older than what was signed before"


# A lane runs the test with every kind.
@pytest.fixture(scope="module", params=("local", "s3"))
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param) as running:
        yield running


@pytest.fixture
def signed_registry(store: Store, tmp_path: Path) -> Iterator[Place]:
    with signed_in(store.place(tmp_path / "registry"), tmp_path / "keys") as place:
        yield place


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Place]:
    with store_of("local") as running, signed_in(running.place(tmp_path / "registry"), tmp_path / "keys") as place:
        yield place


def timestamp_of(place: Place) -> bytes:
    found = place.registry().store.read(TIMESTAMP)
    assert found is not None
    return found.content


def put_back(place: Place, content: bytes) -> None:
    store = place.registry().store
    found = store.read(TIMESTAMP)
    with store.exclusive():
        assert store.write_if(TIMESTAMP, content, found.version if found else None)


def registry(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["registry", *arguments])
    return done.exit_code, " ".join(done.output.split())


def channels(place: Place) -> dict[str, str]:
    states = place.registry().channels()
    return {one.channel: one.complete.version for one in states if one.complete}


def test_older_timestamp_is_refused_and_repaired_in_every_kind(signed_registry: Place) -> None:
    place = signed_registry
    place.publish(MODEL)
    old = timestamp_of(place)
    new = {"stable": place.publish(OTHER), "canary": place.publish(THIRD, "canary")}
    newer = timestamp_of(place)
    put_back(place, old)
    address = f"{signed.normal(place.root)}/phone/shoes"
    last = newest(signed.normal(place.root))
    refusals = [
        lambda: place.publish(MODEL + b"4"),
        lambda: signed.promote(f"{address}/{new['canary']}", "stable", 500),
        lambda: signed.change(address, "stable", rollout.rolled_back, "rollback"),
    ]
    for refused in refusals:
        with pytest.raises(OlderError, match=r"expected: version \d+; found: version \d+"):
            refused()
    health = verify(place.root)
    assert OLDER in health.problems[0].message
    for arguments in (["refresh"], ["refresh", "--force"], ["gc"], ["verify"], ["audit"]):
        code, said = registry(arguments[0], place.root, *arguments[1:])
        assert (code, OLDER in said) == (1, True), (arguments, said)
    assert timestamp_of(place) == old
    assert newest(signed.normal(place.root)) == last, "a refused change leaves no entry"
    code, said = registry("repair", place.root)
    assert (code, "_tuf/timestamp.json" in said) == (0, True), said
    assert Metadata.from_bytes(timestamp_of(place)) == Metadata.from_bytes(newer)
    assert channels(place) == new
    assert not verify(place.root).problems


def test_machine_that_remembers_nothing_finds_what_the_registry_still_has(folder: Place, tmp_path: Path) -> None:
    folder.publish(MODEL)
    old = timestamp_of(folder)
    folder.publish(OTHER), folder.publish(THIRD)
    put_back(folder, old)
    shutil.rmtree(tmp_path / "keys" / FOLDER_IN_KEYS)
    with pytest.raises(OlderError, match=r"because \d+\.snapshot\.json was signed after it"):
        folder.publish(MODEL + b"4")
    code, said = registry("verify", folder.root, "--trust", str(tmp_path / "keys/root.json"))
    assert (code, OLDER in said) == (1, True), said


def test_killed_push_does_not_look_like_an_older_set(folder: Place, tmp_path: Path) -> None:
    folder.publish(MODEL)
    before = folder.registry().read().snapshot.signed.version
    following = Path(folder.root) / f"_tuf/{before + 1}.snapshot.json"
    for step in range(84, 400, 4):
        killed = killed_at(
            folder.root, step, lambda step=step: folder.publish(MODEL + bytes([step % 256, step // 256]))
        )
        if following.exists():
            break
    assert killed and folder.registry().read().snapshot.signed.version == before
    for forgotten in (False, True):
        if forgotten:
            shutil.rmtree(tmp_path / "keys" / FOLDER_IN_KEYS)
        assert not verify(folder.root).problems
    folder.publish(OTHER)
    assert not verify(folder.root).problems


def test_older_copy_that_is_restored_on_purpose_is_signed_above_what_devices_saw(folder: Place, tmp_path: Path) -> None:
    root, copy = Path(folder.root), tmp_path / "copy"
    first = folder.publish(MODEL)
    shutil.copytree(root, copy)
    folder.publish(OTHER), folder.publish(THIRD, "canary")
    seen = folder.registry().read()
    shutil.rmtree(root)
    shutil.copytree(copy, root)
    with pytest.raises(OlderError):
        folder.publish(THIRD)
    code, said = registry("refresh", folder.root, "--accept-older")
    assert code == 0, said
    now = folder.registry().read()
    assert channels(folder) == {"stable": first}
    assert now.timestamp.signed.version == seen.timestamp.signed.version + 1
    assert now.snapshot.signed.version > seen.snapshot.signed.version
    for name, file in seen.snapshot.signed.meta.items():
        assert now.snapshot.signed.meta[name].version > file.version or name == "targets.json"
    folder.publish(THIRD)
    assert not [one for one in verify(folder.root).problems if "older" in one.message]


def test_root_that_is_removed_is_missed(folder: Place) -> None:
    folder.publish(MODEL)
    code, said = registry("rotate", folder.root, "root")
    assert code == 0, said
    assert not verify(folder.root).problems
    folder.files.remove("_tuf/2.root.json")  # The keys of the timestamp stay, so it can be verified without.
    message = "the root of the registry is older than the one that this machine has verified before"
    with pytest.raises(OlderError, match=message):
        folder.publish(THIRD)
    assert message in verify(folder.root).problems[0].message
    assert message in registry("refresh", folder.root, "--accept-older")[1]


def test_state_is_kept_elsewhere_and_must_be_writable(folder: Place, tmp_path: Path) -> None:
    folder.publish(MODEL)
    old = timestamp_of(folder)
    folder.publish(OTHER)
    state = tmp_path / "state"
    with mock.patch.dict(os.environ, {STATE: str(state)}):
        assert not verify(folder.root).problems
        ((kept),) = state.iterdir()
        value = json.loads(kept.read_text())
        assert value["registry"] == signed.normal(folder.root)
        shutil.rmtree(tmp_path / "keys" / FOLDER_IN_KEYS)
        put_back(folder, old)
        assert OLDER in verify(folder.root).problems[0].message
        kept.write_text("{")
        code, said = registry("verify", folder.root)
        assert (code, "this machine's record of the registry cannot be read" in said) == (2, True), said
    (blocked := tmp_path / "file").write_text("")
    with mock.patch.dict(os.environ, {STATE: str(blocked / "state")}):
        code, said = registry("status", folder.root)
        assert (code, STATE in said) == (2, True), said


def test_entries_that_were_removed_are_missed_after_the_next_push_too(folder: Place) -> None:
    for number in range(5):
        folder.publish(MODEL + bytes([number]))
    root = signed.normal(folder.root)
    last = newest(root)
    names = [name for name in notes_at(root, AUDIT).names() if name[:1].isdigit()]
    notes_at(root, AUDIT).remove(names[-4:])
    for _ in range(2):
        folder.publish(OTHER), folder.publish(MODEL)
        assert any(last in one.message for one in verify(root).problems)
        assert registry("audit", root)[0] == 1


def test_mirror_of_a_newer_set_heals_its_older_copy(folder: Place, tmp_path: Path) -> None:
    copy = str(tmp_path / "mirror")
    folder.publish(MODEL)
    mirror(folder.root, copy)
    old = (Path(copy) / "_tuf" / TIMESTAMP).read_bytes()
    folder.publish(OTHER)
    mirror(folder.root, copy)
    assert not verify(copy).problems
    (Path(copy) / "_tuf" / TIMESTAMP).write_bytes(old)
    assert OLDER in verify(copy).problems[0].message
    mirror(folder.root, copy)
    assert not verify(copy).problems
