"""Changes of a signed registry, killed at a request or a file operation: it is as it was, or as it was to be.

The lane `make test-registries` kills at more of them: `EDGEMILL_TEST_SIGNED_KILLS` in each kind of change and registry.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.push import signed
from components.push.registry import store_at
from components.push.several import publish
from components.push.upkeep.check import verify
from components.push.upkeep.convert import sign
from components.trust import oci_store, rollout
from components.trust.keys import VARIABLE
from components.trust.repository import SignedRegistry
from components.trust.setup import create
from tests.components.push.places import KINDS, MODEL, Place, Store, manifest_of, store_of
from tests.components.push.pusher import QUICK, Pushers, pushers
from tests.gateway import DROPPED, Fault

SIGNED_KILLS = int(os.environ.get("EDGEMILL_TEST_SIGNED_KILLS", "1"))
_NEVER = 10**6
OLD, NEW, NEXT = MODEL[::-1], MODEL + b"new", MODEL + b"next"


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param) as running, mock.patch.multiple(oci_store, **QUICK):
        yield running


@pytest.fixture(scope="module")
def changers(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushers]:
    with pushers(tmp_path_factory.mktemp("go")) as running:
        yield running


def version_of(model: bytes) -> str:
    return sha256_of_bytes(model)[:16]


def push(place: Place, model: bytes, channel: str = "stable") -> None:
    publish([place.spec.model_copy(update={"channel": channel})], "phone", "shoes", model, manifest_of(model))


def promote(place: Place, model: bytes) -> None:
    signed.promote(f"{signed.normal(place.root)}/phone/shoes/{version_of(model)}", "stable", rollout.FULL_SHARE)


def opened(place: Place) -> SignedRegistry:
    registry = signed.open_signed(place.root)
    assert registry is not None
    return registry


def stages(place: Place) -> tuple[tuple[str, int, bool], ...]:
    """What devices of the stable channel get: versions, shares, and whether they are paused."""
    found = opened(place).channel("phone", "shoes", "stable").stages
    return tuple((stage.release.version, stage.share, stage.paused) for stage in found)


def full(model: bytes, *, paused: bool = False) -> tuple[tuple[str, int, bool], ...]:
    return ((version_of(model), rollout.FULL_SHARE, paused),)


def prepare(what: str, place: Place) -> None:
    """Bring the stable channel to where a change begins."""
    if what == "rollback":
        push(place, OLD)
        promote(place, NEW)
    elif stages(place) != full(OLD):
        push(place, OLD)


def observed(what: str, place: Place) -> object:
    """What a change changes."""
    match what:
        case "refresh":
            return opened(place).read().timestamp.signed.version
        case "rotate":
            return tuple(opened(place).read().root.signed.roles["timestamp"].keyids)
    return stages(place)


def steps_of(store: Store, changers: Pushers, place: Place, what: str, model: bytes, keys: Path) -> int:
    """Carry out a change, and return its number of requests, or of file operations."""
    changers.rest()
    changers.prepare_signed(place, keys, what, model, -1 if store.gateway else _NEVER)
    if store.gateway is not None:
        store.gateway.reset()
    changers.start()
    done = int(changers.until("done")["done"])
    changers.until("ended")
    return len(store.gateway.requests) if store.gateway is not None else done


def kill(store: Store, changers: Pushers, place: Place, what: str, model: bytes, keys: Path, step: int) -> None:
    """Carry out a change in a process that is killed before a request, or a file operation."""
    changers.rest()
    pid = changers.prepare_signed(place, keys, what, model, -1 if store.gateway else step)
    if (gateway := store.gateway) is not None:
        gateway.reset()

        def at(number: int, line: str) -> Fault:
            if number == step:
                os.kill(pid, signal.SIGKILL)
                return DROPPED
            return None

        gateway.fault = at
    changers.start()
    changers.until("ended")
    if gateway is not None:
        gateway.reset()
    assert not [line for line in changers.said if "error" in line]


@pytest.mark.parametrize("what", ["push", "promote", "rollback", "pause", "refresh", "rotate"])
def test_killed_change_of_a_signed_registry_leaves_it_as_it_was_or_as_it_was_to_be(
    store: Store, changers: Pushers, tmp_path: Path, what: str
) -> None:
    if store.kind == "oci" and SIGNED_KILLS == 1 and what not in {"push", "rotate"}:
        pytest.skip("the lane `make test-registries` runs it, because it waits for locks")
    place, keys = store.place(tmp_path / "registry"), tmp_path / "keys"
    create(root := signed.normal(place.root), store_at(root), keys)
    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
        push(place, OLD)
        push(place, NEW, "canary")
        prepare(what, place)
        steps, ends = steps_of(store, changers, place, what, NEW, keys), []
        assert steps > 5
        assert stages(place) == {
            "push": full(NEW), "promote": full(NEW), "pause": full(OLD, paused=True)}.get(what, full(OLD))  # fmt: skip
        stride = max(1, steps // SIGNED_KILLS)
        for step in (*range(stride // 2, steps, stride), _NEVER):
            prepare(what, place)
            before, is_before = observed(what, place), stages(place)
            model = MODEL + step.to_bytes(4, "big") if what == "push" else NEW
            kill(store, changers, place, what, model, keys, step)
            after = {
                "push": full(model), "promote": full(NEW), "rollback": full(OLD), "pause": full(OLD, paused=True)
            }.get(what, is_before)  # fmt: skip
            assert stages(place) in {is_before, after}
            current = place.current()
            assert current is not None and current.version in {is_before[0][0], after[0][0]}
            assert not (health := verify(place.root)).problems, health.problems
            ends.append(observed(what, place) != before)
            push(place, NEXT)
            assert stages(place) == full(NEXT)
    assert ends == sorted(ends) and set(ends) == {False, True}


def test_killed_conversion_leaves_the_registry_unsigned_or_signed_with_its_releases(
    store: Store, changers: Pushers, tmp_path: Path
) -> None:
    if (gateway := store.gateway) is None:
        pytest.skip("a folder has no requests")

    def run(last: int | None) -> tuple[Place, Path, int]:
        place, keys = store.place(tmp_path), tmp_path / f"keys-{last}"
        push(place, OLD)
        push(place, NEW, "canary")
        changers.rest()
        pid = changers.prepare_signed(place, keys, "sign", NEW)
        gateway.reset()

        def kill(number: int, line: str) -> Fault:
            if number == last:
                os.kill(pid, signal.SIGKILL)
                return DROPPED
            return None

        gateway.fault = kill
        changers.start()
        changers.until("ended")
        steps = len(gateway.requests)
        gateway.reset()
        assert not [line for line in changers.said if "error" in line]
        return place, keys, steps

    _, _, steps = run(None)
    ends = []
    stride = max(1, steps // SIGNED_KILLS)
    for step in sorted({*range(stride // 4, steps, stride), steps - 1}):
        place, keys, _ = run(step)
        found = place.current()
        assert found is not None and found.version == version_of(OLD)
        try:
            push(place, OLD)  # as before, without keys
            ends.append(False)
            assert sign(place.root, keys).releases == 2
        except RegistryError as error:
            assert "no key set here is for it" in str(error)
            ends.append(True)
        with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
            health = verify(place.root)
            assert (health.anchored, health.releases, health.problems) == (True, 2, ())
            assert stages(place) == full(OLD)
    assert ends == sorted(ends) and set(ends) == {False, True}
