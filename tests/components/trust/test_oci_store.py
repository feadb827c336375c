"""The lock of signed metadata in an OCI registry, which has no writes under a condition."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from components.core.errors import RegistryError
from components.object_store.oci.transport import Transport
from components.push import signed
from components.push.several import publish
from components.trust import oci_store
from components.trust.keys import VARIABLE
from components.trust.oci_store import OciStore
from components.trust.store_errors import OvertakenError
from tests.components.push.places import MODEL, QUICK_LOCK, Place, Store, manifest_of, store_of
from tests.forked import was_killed
from tests.oci_server import PROGRAM

OTHER = MODEL[::-1]
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Debian's package docker-registry is not installed")


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with store_of("oci", {**QUICK_LOCK, "LEASE_SECONDS": 1.0}) as running:
        yield running


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Place:
    return store.place(tmp_path)


def test_one_process_at_a_time_has_the_lock(place: Place) -> None:
    inside, most, order = [0], [0], []

    def enter(number: int) -> None:
        with OciStore(place.root).exclusive():
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            inside[0] -= 1
            order.append(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(order) == [0, 1, 2, 3]
    assert most == [1]


def test_late_write_of_the_lock_takes_it_from_who_wrote_before(place: Place) -> None:
    """Both read that nobody has the lock, and the second writes it just after the first."""
    both, entered, inside = threading.Barrier(2, timeout=60), list[int](), threading.Semaphore(1)
    write_lock = OciStore._write_lock

    def enter(number: int) -> None:
        store, first = OciStore(place.root), iter([True])

        def write(claim: bytes, before: bytes | None) -> None:
            if next(first, False):
                both.wait()
                time.sleep(0.1 * number)
            write_lock(store, claim, before)

        with mock.patch.object(store, "_write_lock", write), store.exclusive():
            if inside.acquire(blocking=False):
                time.sleep(0.5)
                entered.append(number)
                inside.release()

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entered) == [0, 1]


def test_write_needs_the_lock_and_what_was_read(place: Place) -> None:
    store = OciStore(place.root)
    with pytest.raises(OvertakenError):
        store.write_if("a.json", b"1", None)
    assert store.read("a.json") is None
    with store.exclusive():
        assert store.write_if("a.json", b"1", None)
        assert not store.write_if("a.json", b"2", None)
        assert not store.write_if("a.json", b"2", "another")
        assert store.write_if("targets/x/y.json", b"3", None)
        found = store.read("a.json")
        assert found is not None and store.write_if("a.json", b"2", found.version)
    contents = [store.read(name) for name in ("a.json", "targets/x/y.json")]
    assert [one.content for one in contents if one] == [b"2", b"3"]


def test_lock_of_a_killed_process_is_taken_over(place: Place) -> None:
    def die() -> None:
        with OciStore(place.root).exclusive():
            os.kill(os.getpid(), signal.SIGKILL)

    assert was_killed(die)
    began = time.monotonic()
    with OciStore(place.root).exclusive():
        assert time.monotonic() - began > 2 * oci_store.LEASE_SECONDS


def test_change_of_many_files_keeps_the_lock(place: Place) -> None:
    """Signing the channels of hundreds of device classes takes longer than a lock lasts."""
    began, ended = time.monotonic(), list[float]()

    def wait() -> None:
        with OciStore(place.root).exclusive():
            ended.append(time.monotonic())

    store = OciStore(place.root)
    other = threading.Thread(target=wait)
    with store.exclusive():
        other.start()
        for number in range(10**6):
            assert store.write_if(f"{number}.json", b"1", None)
            time.sleep(0.1)
            if time.monotonic() - began > 3.5 * oci_store.LEASE_SECONDS:
                break
        assert not ended
    other.join()
    assert ended


def test_process_that_was_stopped_writes_nothing_afterwards(place: Place) -> None:
    slow, quick = OciStore(place.root), OciStore(place.root)
    with slow.exclusive():
        with quick.exclusive():
            assert quick.write_if("a.json", b"new", None)
            with pytest.raises(OvertakenError, match="another process has taken over the lock"):
                slow.write_if("b.json", b"old", None)
        with pytest.raises(OvertakenError):
            slow.write_if("b.json", b"old", None)
    assert quick.read("b.json") is None


def test_registry_that_is_too_slow_for_the_lock_is_reported(place: Place) -> None:
    with (
        mock.patch.multiple(oci_store, WRITE_SECONDS=0.0, _PAUSE_SECONDS=0.0, _MOST_ATTEMPTS=3),
        pytest.raises(RegistryError, match=r"cannot be locked: .*expected: a write in 0 s; found: none in"),
        OciStore(place.root).exclusive(),
    ):
        pass
    # It doesn't keep the lock.
    began = time.monotonic()
    with OciStore(place.root).exclusive():
        assert time.monotonic() - began < 2 * oci_store.LEASE_SECONDS


def test_changed_metadata_is_reported(place: Place, store: Store) -> None:
    metadata = OciStore(place.root)
    with metadata.exclusive():
        metadata.write_if("a.json", b"right", None)
    place.files.write("edgemill-tuf/a.json/a.json", b"wrong")
    with pytest.raises(RegistryError, match="is refused: the content of this artifact does not match its digest"):
        metadata.read("a.json")
    place.files.remove("edgemill-tuf/a.json/a.json")
    with pytest.raises(RegistryError, match="or its content is missing"):
        metadata.read("a.json")


def test_registry_that_denies_what_does_not_exist_is_not_signed(place: Place, store: Store, tmp_path: Path) -> None:
    assert store.gateway is not None
    store.gateway.fault = lambda number, line: (403, "{}") if "edgemill-tuf" in line else None
    (_,), is_signed = publish([place.spec], "phone", "shoes", MODEL, manifest_of(MODEL))
    assert not is_signed
    store.gateway.reset()
    place.sign(tmp_path / "keys")
    store.gateway.fault = lambda number, line: (403, "{}") if "edgemill-tuf" in line else None
    with (
        mock.patch.dict(os.environ, {VARIABLE: str(tmp_path / "keys")}),
        pytest.raises(RegistryError, match="was signed, and its signed metadata is missing"),
    ):
        place.publish(OTHER)
    store.gateway.reset()


def test_killed_push_leaves_the_signed_set_as_it_was_or_new(place: Place, tmp_path: Path) -> None:
    place.sign(tmp_path / "keys")
    with mock.patch.dict(os.environ, {VARIABLE: str(tmp_path / "keys")}):
        old, ends = place.publish(MODEL), []
        for step in range(0, 400, 23):
            new = MODEL + bytes([step])
            killed = was_killed(lambda new=new, step=step: push_until(place, new, step))
            ends.append(signed_version(place) != old)
            if not killed:
                break
            if ends[-1]:
                old = signed_version(place)
        assert ends[0] is False and ends[-1] is True
        assert len(ends) > 3
        assert place.publish(OTHER) == signed_version(place)


def push_until(place: Place, model: bytes, step: int) -> None:
    """Push in a child process that kills itself at a request."""
    send, number = Transport.send, iter(range(1000))

    def counted(self: Transport, *arguments: Any, **options: Any) -> Any:
        if next(number) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return send(self, *arguments, **options)

    with mock.patch.object(Transport, "send", counted):
        place.publish(model)


def signed_version(place: Place) -> str:
    registry = signed.open_signed(place.root)
    assert registry is not None
    return registry.channel("phone", "shoes", "stable").stages[0].release.version
