"""An older signed set that somebody without keys puts back: nothing is signed on top of it, and it can be undone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from tuf.api.metadata import Metadata, Targets
from typer.testing import CliRunner

from components.core.errors import RegistryUnreachableError, SpecError
from components.push import signed
from components.push.audit import newest
from components.push.beside import AUDIT, notes_at
from components.push.upkeep.check import verify
from components.push.upkeep.mirror import mirror
from components.trust import rollout
from components.trust.memory import FOLDER_IN_KEYS, STATE
from components.trust.older import OlderError
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
    (blocked := tmp_path / "file").write_text("")
    with mock.patch.dict(os.environ, {STATE: str(blocked / "state")}):
        code, said = registry("status", folder.root)
        assert (code, STATE in said) == (2, True), said


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100_000 + "]" * 100_000,
        '{"root": 1, "timestamp": []}',
        '{"root": 1, "timestamp": %s, "snapshot": %s}' % ((f'{{"signed": {"[" * 5_000}{"]" * 5_000}}}',) * 2),
        "a snapshot as the timestamp",
        "an infinite root",
    ],
)
def test_memory_that_cannot_be_read_is_an_error(folder: Place, tmp_path: Path, content: str) -> None:
    folder.publish(MODEL)
    ((kept),) = (tmp_path / "keys" / FOLDER_IN_KEYS).iterdir()
    if content.startswith(("a ", "an ")):
        value = json.loads(kept.read_text())
        changed = {"root": float("inf")} if content == "an infinite root" else {"timestamp": value["snapshot"]}
        content = json.dumps({**value, **changed})
    kept.write_text(content)
    for command in ("verify", "refresh", "repair"):
        code, said = registry(command, folder.root)
        assert (code, "this machine's record of the registry cannot be read" in said) == (2, True), said
        assert "then remove the file" in said


def test_memory_that_is_no_file_is_an_error(folder: Place, tmp_path: Path) -> None:
    ((kept),) = (tmp_path / "keys" / FOLDER_IN_KEYS).iterdir() if folder.publish(MODEL) else ()
    kept.unlink()
    os.mkfifo(kept)
    code, said = registry("status", folder.root)
    assert (code, "Not a regular file" in said) == (2, True), said


def test_pods_that_share_a_state_in_an_object_store_notice_an_older_set(tmp_path: Path) -> None:
    """Their key sets are read-only, and nothing outlives a pod."""
    with store_of("s3") as running:
        place = running.place(tmp_path)
        state = place.root.replace("/some/", "/state/")
        with signed_in(place, tmp_path / "keys"), mock.patch.dict(os.environ, {STATE: state}):
            place.publish(MODEL)
            old = timestamp_of(place)
            place.publish(OTHER)
            last = timestamp_of(place)
            place.files.remove(f"_tuf/{place.registry().read().snapshot.signed.version}.snapshot.json")
            put_back(place, old)
            assert not (tmp_path / "keys" / FOLDER_IN_KEYS).exists()
            with pytest.raises(OlderError, match=r"expected: version \d+; found: version \d+"):
                place.publish(THIRD)
            put_back(place, last)
            assert running.gateway is not None
            running.gateway.fault = lambda number, line: (503, "") if "/state/" in line else None
            with pytest.raises(RegistryUnreachableError, match=r"this machine's record of the registry cannot be read"):
                place.publish(THIRD)
            running.gateway.fault = lambda number, line: None
            os.environ[STATE] = "ftp://bucket"
            with pytest.raises(SpecError, match=r"EDGEMILL_STATE.*expected: a folder, s3://BUCKET"):
                place.publish(THIRD)


def test_older_set_is_not_remembered_over_a_newer_one(folder: Place, tmp_path: Path) -> None:
    """Two processes can verify at the same time."""
    folder.publish(MODEL)
    before = folder.registry().read()
    folder.publish(OTHER)
    ((kept),) = (tmp_path / "keys" / FOLDER_IN_KEYS).iterdir()
    newest = kept.read_bytes()
    folder.registry().memory.keep(before.root.signed.version, before.timestamp, before.snapshot)
    assert kept.read_bytes() == newest


def test_machine_that_remembers_nothing_warns_of_what_can_be_an_interrupted_change(
    folder: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.publish(MODEL)
    old = timestamp_of(folder)
    folder.publish(OTHER)
    put_back(folder, old)
    shutil.rmtree(tmp_path / "keys" / FOLDER_IN_KEYS)
    folder.publish(THIRD)
    (warning,) = [one.getMessage() for one in caplog.records if "put an older timestamp back" in one.getMessage()]
    assert folder.root in warning
    caplog.clear()
    shutil.rmtree(tmp_path / "keys" / FOLDER_IN_KEYS)
    folder.publish(MODEL)
    assert "put an older timestamp back" not in caplog.text


def test_push_to_a_registry_that_cannot_be_remembered_warns_once(
    folder: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "keys" / FOLDER_IN_KEYS).write_text("in the way")
    version = folder.publish(MODEL)
    assert channels(folder) == {"stable": version}
    (warning,) = [one.getMessage() for one in caplog.records if "remember" in one.getMessage()]
    assert folder.root in warning and f"Remedy: set {STATE} to a folder" in warning


def test_state_that_fills_up_during_a_push_does_not_hide_that_the_push_succeeded(
    folder: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once the timestamp is in force, devices get the release, so an error would be false."""
    folder.publish(MODEL)
    state = tmp_path / "state"
    with mock.patch.dict(os.environ, {STATE: str(state)}):
        assert not verify(folder.root).problems

        def edit(_: object) -> dict[str, Metadata[Targets]]:
            shutil.rmtree(state)
            state.write_text("in the way")
            return {}

        folder.registry().commit(edit, snapshot=True)
    assert "this machine can't remember the newest signed set" in caplog.text


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
