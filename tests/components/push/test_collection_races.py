"""Garbage collection at the same time as pushes, and killed at any step. Without a grace period, as if clocks were off.

The lane `make test-registries` runs the same at every step and for longer.
"""

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
from components.core.files import sha256_of_bytes
from components.push import claims, signed
from components.push.beside import CLAIMS, notes_at
from components.push.upkeep import files
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.push.upkeep.retention import Retention
from components.trust.keys import VARIABLE
from components.trust.repository import SignedRegistry
from tests.components.push.places import MODEL, Place, Store
from tests.components.push.pusher import QUICK, Pushers
from tests.components.push.test_faults import gateway_of, version_of
from tests.gateway import DROPPED, Fault
from tests.processes import LIMIT_SECONDS

# The suite takes some of the steps; the lane takes all.
LOCK = QUICK
STRIDE = int(os.environ.get("EDGEMILL_TEST_STRIDE", "37"))
ROUNDS = int(os.environ.get("EDGEMILL_TEST_ROUNDS", "1"))


@pytest.mark.parametrize("count", [2, 4])
def test_collections_beside_pushes_take_nothing_that_was_acknowledged(
    store: Store, processes: Pushers, tmp_path: Path, count: int
) -> None:
    for number in range(ROUNDS):
        place = store.place(tmp_path / str(number))
        place.push()
        processes.rest()
        models = [[MODEL + bytes([0, i] if i % 2 else [pusher, i]) for i in range(3)] for pusher in range(count)]
        for own in models:
            processes.prepare(place, own)
        processes.prepare(place, collect=4)
        processes.start()
        processes.until("done", count + 1)
        assert not [line for line in processes.said if "error" in line]
        assert {version_of(model) for own in models for model in own} <= set(place.versions())
        health = verify(place.root)
        assert not health.problems, health.problems
        assert health.releases == len(place.versions())


def test_retention_beside_pushes_keeps_what_the_channel_names(store: Store, processes: Pushers, tmp_path: Path) -> None:
    for number in range(ROUNDS):
        place = store.place(tmp_path / str(number))
        place.push()
        processes.rest()
        # Both push the same two models again and again, so that a collection finds one of them outdated.
        own = [MODEL + b"a", MODEL + b"b"] * 3
        for _ in range(2):
            processes.prepare(place, own)
        processes.prepare(place, collect=6, keep=1)
        processes.start()
        processes.until("done", 3)
        # What was pushed and removed before its channel named it, is not acknowledged.
        errors = [line["error"] for line in processes.said if "error" in line]
        assert not [one for one in errors if "a collection has removed this release" not in one], errors
        found = place.push(own[-1])
        assert place.current() == found
        assert not verify(place.root).problems


def test_collections_beside_signed_pushes_take_nothing_that_devices_need(
    store: Store, processes: Pushers, tmp_path: Path
) -> None:
    for number in range(ROUNDS):
        place, keys = store.place(tmp_path / str(number)), tmp_path / f"keys-{number}"
        with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
            place.sign(keys)
            processes.rest()
            for publisher in (1, 2):
                processes.prepare_endless(place, publisher, keys)
            processes.start()
            collected = [collect(place.root, Retention(keep_last=1), 0.0).removed for _ in range(6)]
            end = time.monotonic() + LIMIT_SECONDS
            while not any(collected):
                assert time.monotonic() < end, "the pushes leave nothing to remove"
                collected.append(collect(place.root, Retention(keep_last=1), 0.0).removed)
            processes.stop()
            processes.until("ended", 2)
            assert any(collected)
            assert not [line for line in processes.said if "error" in line]
            assert not (health := verify(place.root)).problems, health.problems
            registry = signed.open_signed(place.root)
            assert registry is not None
            state = registry.channel("phone", "shoes", "stable")
            needed = [*state.history, *(stage.release for stage in state.stages)]
            assert {release.version for release in needed} <= set(place.versions())


def test_push_puts_a_release_again_that_a_collection_took_after_the_channel_was_signed(
    store: Store, tmp_path: Path
) -> None:
    place, keys = store.place(tmp_path / "registry"), tmp_path / "keys"
    place.sign(keys)
    address, taken = f"{place.root}/phone/shoes/{version_of(MODEL)}", list[bool]()
    change = SignedRegistry.change_channel

    def sign_and_take(self: SignedRegistry, *arguments: Any) -> Any:
        state = change(self, *arguments)
        if not taken:
            taken.append(True)
            place.remove(version_of(MODEL))
        return state

    with (
        mock.patch.dict(os.environ, {VARIABLE: str(keys)}),
        mock.patch.object(SignedRegistry, "change_channel", sign_and_take),
    ):
        place.publish(MODEL)
        assert taken
        assert place.kind.resolve(address).sha256 == sha256_of_bytes(MODEL)
        assert not verify(place.root).problems


def test_promotion_of_a_release_that_a_collection_took_after_the_channel_was_signed_is_an_error(
    store: Store, tmp_path: Path
) -> None:
    place, keys = store.place(tmp_path / "registry"), tmp_path / "keys"
    place.sign(keys)
    address = f"{place.root}/phone/shoes/{version_of(MODEL)}"
    change = SignedRegistry.change_channel

    def sign_and_take(self: SignedRegistry, *arguments: Any) -> Any:
        state = change(self, *arguments)
        place.remove(version_of(MODEL))
        return state

    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
        place.publish(MODEL, "canary")
        place.publish(MODEL + b"newer", "canary")
        with (
            mock.patch.object(SignedRegistry, "change_channel", sign_and_take),
            pytest.raises(RegistryError, match="a collection has removed this release") as raised,
        ):
            signed.promote(address, "stable", 500)
        assert raised.value.where == address


def prepared(store: Store, folder: Path) -> tuple[Place, bytes]:
    """A registry with outdated releases and, where that is possible, what a killed push leaves."""
    place = store.place(folder)
    for letter in (b"a", b"b"):
        place.publish(MODEL + letter)
    newest = MODEL + b"c"
    place.publish(newest)
    if store.kind != "oci":
        place.files.write(f"phone/shoes/{version_of(MODEL + b'd')}/model.tflite", MODEL)
    return place, newest


def killed_collections(store: Store, processes: Pushers, folder: Path) -> Iterator[tuple[Place, bytes]]:
    """Kill a collection at one step after the other."""
    for step in range(0, 1000, STRIDE):
        place, newest = prepared(store, folder / str(step))
        processes.rest()
        if store.gateway is None:
            processes.prepare(place, collect=1, keep=1, kill_at=step)
            processes.start()
        else:
            gateway = gateway_of(store)
            gateway.reset()
            pid = processes.prepare(place, collect=1, keep=1, kill_at=-1)["pid"]

            def kill(number: int, line: str, last: int = step // 2, pid: int = pid) -> Fault:
                if number == last:
                    os.kill(pid, signal.SIGKILL)
                    return DROPPED
                return None

            gateway.fault, gateway.after = (gateway.fault, kill) if step % 2 else (kill, gateway.after)
            processes.start()
        processes.until("ended")
        if store.gateway is not None:
            gateway_of(store).reset()
        yield place, newest
        if any("done" in line for line in processes.said):
            assert step > 30
            return
    raise AssertionError("a collection with so many steps")


def test_killed_collection_leaves_whole_releases_and_the_next_one_ends_it(
    store: Store, processes: Pushers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, newest in killed_collections(store, processes, tmp_path):
        assert not (health := verify(place.root)).problems, health.problems
        found = place.current()
        assert found is not None
        assert found.version == version_of(newest)
        # A push of what it removes waits for the dead collection, and gets its release.
        with monkeypatch.context() as patch:
            patch.setattr(claims, "LEASE_SECONDS", 0.2)
            place.publish(MODEL + b"a")
            assert place.current() is not None
            place.publish(newest)
            claims.settle(place.root, None)
        monkeypatch.setattr(files, "STALE_SECONDS", 0.0)
        collect(place.root, Retention(keep_last=1), 0.0)
        assert place.versions() == (version_of(newest),)
        names = {name.removeprefix("tag ").replace(":", "/").split("/")[0] for name in place.files.all()}
        assert names <= {"phone", "_audit", "edgemill-audit"}


def test_push_writes_again_what_a_collection_has_just_removed(store: Store, tmp_path: Path) -> None:
    if store.kind in {"local", "oci"}:
        pytest.skip("no requests, or no incomplete releases")
    place, gateway, done = store.place(tmp_path), gateway_of(store), list[bool]()
    here = f"phone/shoes/{version_of(MODEL)}"
    place.files.write(f"{here}/model.tflite", MODEL)  # A killed push left it.

    def collect_before_manifest(number: int, line: str) -> Fault:
        if not done and "manifest.json" in line and line.startswith(("PUT", "POST", "GET")):
            done.append(True)
            assert collect(place.root, grace=0.0).removed
            assert f"{here}/model.tflite" not in place.files.all()
        return None

    gateway.fault = collect_before_manifest
    release = place.push()
    gateway.reset()
    assert done
    assert place.current() == release
    assert place.kind.resolve(release.path).sha256 == release.manifest.sha256


def test_collection_keeps_what_a_channel_has_named_since_it_looked(store: Store, tmp_path: Path) -> None:
    if store.kind == "local":
        pytest.skip("no requests")
    place, gateway, done, busy = store.place(tmp_path), gateway_of(store), list[bool](), list[bool]()
    place.publish(MODEL)
    old = place.current()
    place.publish(MODEL + b"!")
    assert old is not None

    rollback = threading.Thread(target=place.kind.point_at, args=(old.path, "stable"))

    def roll_back_after_claim(number: int, line: str) -> None:
        # The first claim is empty, and the next one has the release.
        if done or busy:
            return
        busy.append(True)
        notes = notes_at(place.root, CLAIMS)
        if any(old.version.encode() in (notes.read(name) or b"") for name in notes.names()):
            done.append(True)
            # The rollback waits for the collection, which waits here.
            rollback.start()
            time.sleep(0.5)
        busy.clear()

    gateway.after = roll_back_after_claim
    collect(place.root, Retention(keep_last=1), 0.0)
    gateway.reset()
    assert done
    rollback.join()
    assert place.current() == old
    assert not verify(place.root).problems
