"""Registries under concurrent, killed, and interrupted pushes, with real servers."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core.errors import RegistryError
from components.object_store import gcs
from components.object_store.oci import transport
from tests.components.push.places import KINDS, MODEL, Place, Store, store_of
from tests.components.push.pusher import Pushers
from tests.forked import EVERY_STEP
from tests.gateway import ANSWER_LOST, DROPPED, Fault, Gateway

OTHER = MODEL[::-1]


@pytest.fixture(scope="module", params=KINDS[1:])
def remote(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param) as running:
        yield running


def gateway_of(store: Store) -> Gateway:
    assert store.gateway is not None
    return store.gateway


def version_of(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()[:16]


def check_complete(place: Place) -> None:
    """Every release that is listed is intact."""
    for version in place.versions():
        assert place.kind.resolve(f"{place.root}/phone/shoes/{version}").sha256.startswith(version)


@pytest.mark.parametrize("count", [2, 4])
def test_no_acknowledged_release_is_lost_when_pushers_race(
    store: Store, processes: Pushers, tmp_path: Path, count: int
) -> None:
    place = store.place(tmp_path)
    processes.rest()
    # Every second model is everybody's.
    models = [[MODEL + bytes([0, i] if i % 2 else [pusher, i]) for i in range(4)] for pusher in range(count)]
    for own in models:
        processes.prepare(place, own)
    processes.start()
    processes.until("done", count)
    assert not [line for line in processes.said if "error" in line]
    assert sorted(processes.acknowledged()) == sorted(version_of(model) for own in models for model in own)
    assert set(place.versions()) == set(processes.acknowledged())
    check_complete(place)
    found = place.current()
    # Nobody pushes after the last one of each.
    assert found is not None and found.version in {version_of(own[-1]) for own in models}


def killed_pushes(store: Store, place: Place, processes: Pushers) -> Iterator[tuple[bytes, bool | None]]:
    """Push model after model, and kill each push at the next step. Yields the model, and whether the channel has moved.

    In a folder, the steps are file operations, and only the channel says whether it has moved (None). In a store, they
    are requests, and each push is killed before or after the store carries one out.
    """
    if store.gateway is None:
        for step in range(0, 1000, 1 if EVERY_STEP else 4):
            processes.rest()
            processes.prepare(place, [model := MODEL + bytes([step])], kill_at=step)
            processes.start()
            processes.until("ended")
            yield model, None
            if any("done" in line for line in processes.said):
                assert step > 20
                return
    gateway = gateway_of(store)
    gateway.reset()
    # The first client of a process can send more requests than later ones.
    processes.rest()
    processes.prepare(place, [MODEL], kill_at=-1)
    processes.start()
    processes.until("ended")
    steps = len(gateway.requests)
    assert steps >= 6
    commit = max(i for i, line in enumerate(gateway.requests) if line.startswith(("PUT", "POST")))
    place.push(OTHER)
    # Before and after the channel moves in any case.
    for step in sorted({*range(0, 2 * steps, 1 if EVERY_STEP else 11), 2 * commit, 2 * commit + 1, 2 * steps - 1}):
        gateway.reset()
        processes.rest()
        pid = processes.prepare(place, [model := MODEL + bytes([step])], kill_at=-1)["pid"]

        def kill(number: int, line: str, last: int = step // 2, pid: int = pid) -> Fault:
            if number == last:
                os.kill(pid, signal.SIGKILL)
                return DROPPED
            return None

        if step % 2:
            gateway.after = kill
        else:
            gateway.fault = kill
        processes.start()
        processes.until("ended")
        gateway.reset()
        yield model, step > 2 * commit


def test_killed_push_leaves_the_old_release_or_the_new_one(store: Store, processes: Pushers, tmp_path: Path) -> None:
    place, seen = store.place(tmp_path), set()
    old = place.push(OTHER)
    for model, moved in killed_pushes(store, place, processes):
        found = place.current()
        assert found is not None
        assert found.version in {old.version, version_of(model)}
        if moved is not None:
            assert (found.version == version_of(model)) == moved
        seen.add(found.version == version_of(model))
        old = place.push(model)
    assert seen == {False, True}
    check_complete(place)


@pytest.mark.parametrize("fault", [DROPPED, ANSWER_LOST, (503, "")], ids=["dropped", "answer lost", "503"])
def test_push_survives_a_fault_of_each_request(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(transport, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(gcs, "_RETRY", gcs.DEFAULT_RETRY.with_delay(initial=0.01))
    expected = remote.place(tmp_path)
    expected.push()
    files = expected.files.all()
    gateway, place = gateway_of(remote), remote.place(tmp_path)
    asked = Counter[str]()

    def first_of_two(number: int, line: str) -> Fault:
        """Each second request of a method is the repetition of the one before."""
        method = line.partition(" ")[0]
        asked[method] += 1
        return fault if asked[method] % 2 else None

    gateway.fault = first_of_two
    release = place.push()
    assert len(gateway.requests) >= 12
    gateway.reset()
    assert place.files.all() == files
    assert place.current() == release


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((503, ""), "the registry cannot be used: the (object store|registry) is currently not working"),
        # Google allows about one write of an object in a second.
        ((429, ""), "the registry cannot be used: the (object store|registry) is currently not working"),
        (DROPPED, "the registry cannot be used: the (object store|registry) cannot be reached"),
    ],
    ids=["503", "429", "dropped"],
)
def test_store_that_stays_away_is_reported_and_the_channel_is_unchanged(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, said: str
) -> None:
    # Half a minute of attempts, which is too long for a test.
    monkeypatch.setattr(gcs, "_RETRY", gcs.DEFAULT_RETRY.with_timeout(1.0))
    monkeypatch.setattr(transport, "_FIRST_PAUSE_SECONDS", 0.01)
    place = remote.place(tmp_path)
    old = place.push(OTHER)
    gateway_of(remote).fault = lambda number, line: fault if re.search("stable|upload", line) else None
    with pytest.raises(RegistryError, match=rf"{place.root}/phone/shoes.*: {said} .*Remedy: .*run again") as caught:
        place.push()
    assert caught.value.__cause__ is None
    gateway_of(remote).reset()
    assert place.current() == old
    assert place.kind.exists(old.path)
    gateway_of(remote).fault = lambda number, line: fault
    assert place.kind.exists(f"{place.root}/phone/shoes/{'0' * 16}")  # nobody knows


def test_push_in_the_middle_of_a_rollback_is_seen(remote: Store, tmp_path: Path) -> None:
    if remote.kind == "oci":
        pytest.skip("the distribution API has no write with a condition: decision 0046")
    place = remote.place(tmp_path)
    first, _ = place.push(OTHER), place.push()
    gateway, between = gateway_of(remote), list[str]()

    def push_before_write(number: int, line: str) -> Fault:
        if not between and line.startswith(("PUT", "POST")):
            between.append("")
            between[0] = place.push(b"a third model").version
        return None

    gateway.fault = push_before_write
    before, pointed = place.kind.point_at(first.path, "stable")
    gateway.reset()
    assert (before, pointed) == (between[0], first)
    assert place.current() == first
    assert between[0] in place.versions()


def test_manifest_and_compressed_form_fit_when_two_write_the_same_release(remote: Store, tmp_path: Path) -> None:
    if remote.kind == "oci":
        pytest.skip("each artifact has its own compressed form, by its digest")
    place = remote.place(tmp_path)
    # As another version of zlib compresses it.
    served = gzip.compress(MODEL, 1)
    place.files.write(f"phone/shoes/{version_of(MODEL)}/model.tflite.gz", served)
    release = place.push()
    assert release.manifest.compressed is not None
    assert (release.manifest.compressed.sha256, release.manifest.compressed.bytes) == (
        hashlib.sha256(served).hexdigest(),
        len(served),
    )
    assert place.current() == release
    assert place.kind.resolve(release.path).manifest_sha256 == release.manifest_sha256
