"""Changes of a signed registry, killed at a request or a file operation: it is as it was, or as it was to be.

The lane `make test-registries` kills at more of them: `EDGEMILL_TEST_SIGNED_KILLS` in each kind of change and registry.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from unittest import mock

import pytest

from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.push import signed
from components.push.upkeep.check import verify
from components.push.upkeep.convert import sign
from components.trust import rollout
from components.trust.keys import VARIABLE
from tests.components.push.places import MODEL, Place, Store
from tests.components.push.pusher import QUICK, Pushers
from tests.forked import EVERY_STEP
from tests.gateway import DROPPED, Fault

SIGNED_KILLS = int(os.environ.get("EDGEMILL_TEST_SIGNED_KILLS", "1"))
CHANGES = ("push", "promote", "rollback", "pause", "refresh", "rotate")
# What the suite kills.
SOME = {"local": CHANGES, "s3": ("push", "rollback"), "gcs": ("promote", "refresh"), "oci": ("push", "rotate")}
_NEVER = 10**6
LOCK = QUICK
OLD, NEW, NEXT = MODEL[::-1], MODEL + b"new", MODEL + b"next"


def version_of(model: bytes) -> str:
    return sha256_of_bytes(model)[:16]


def promote(place: Place, model: bytes) -> None:
    signed.promote(f"{signed.normal(place.root)}/phone/shoes/{version_of(model)}", "stable", rollout.FULL_SHARE)


def stages(place: Place) -> tuple[tuple[str, int, bool], ...]:
    """What devices of the stable channel get: versions, shares, and whether they are paused."""
    found = place.registry().channel("phone", "shoes", "stable").stages
    return tuple((stage.release.version, stage.share, stage.paused) for stage in found)


def full(model: bytes, *, paused: bool = False) -> tuple[tuple[str, int, bool], ...]:
    return ((version_of(model), rollout.FULL_SHARE, paused),)


def prepare(what: str, place: Place) -> None:
    """Bring the stable channel to where a change begins."""
    if what == "rollback":
        place.publish(OLD)
        promote(place, NEW)
    elif stages(place) != full(OLD):
        place.publish(OLD)


def observed(what: str, place: Place) -> object:
    """What a change changes."""
    match what:
        case "refresh":
            return place.registry().read().timestamp.signed.version
        case "rotate":
            return tuple(place.registry().read().root.signed.roles["timestamp"].keyids)
    return stages(place)


def steps_of(store: Store, processes: Pushers, place: Place, what: str, model: bytes, keys: Path) -> int:
    """Carry out a change, and return its number of requests, or of file operations."""
    processes.rest()
    processes.prepare_signed(place, keys, what, model, -1 if store.gateway else _NEVER)
    if store.gateway is not None:
        store.gateway.reset()
    processes.start()
    done = int(processes.until("done")["done"])
    processes.until("ended")
    return len(store.gateway.requests) if store.gateway is not None else done


def kill(store: Store, processes: Pushers, place: Place, what: str, model: bytes, keys: Path, step: int) -> None:
    """Carry out a change in a process that is killed before a request, or a file operation."""
    processes.rest()
    pid = processes.prepare_signed(place, keys, what, model, -1 if store.gateway else step)
    if (gateway := store.gateway) is not None:
        gateway.reset()

        def at(number: int, line: str) -> Fault:
            if number == step:
                os.kill(pid, signal.SIGKILL)
                return DROPPED
            return None

        gateway.fault = at
    processes.start()
    processes.until("ended")
    if gateway is not None:
        gateway.reset()
    assert not [line for line in processes.said if "error" in line]


@pytest.mark.parametrize("what", CHANGES)
def test_killed_change_of_a_signed_registry_leaves_it_as_it_was_or_as_it_was_to_be(
    store: Store, processes: Pushers, tmp_path: Path, what: str
) -> None:
    if not EVERY_STEP and what not in SOME[store.kind]:
        pytest.skip("the lane `make test-registries` runs it")
    place, keys = store.place(tmp_path / "registry"), tmp_path / "keys"
    place.sign(keys)
    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
        place.publish(OLD)
        place.publish(NEW, "canary")
        prepare(what, place)
        steps, ends = steps_of(store, processes, place, what, NEW, keys), []
        assert steps > 5
        assert stages(place) == {
            "push": full(NEW), "promote": full(NEW), "pause": full(OLD, paused=True)}.get(what, full(OLD))  # fmt: skip
        stride = max(1, steps // SIGNED_KILLS)
        for step in (*range(stride // 2, steps, stride), _NEVER):
            prepare(what, place)
            before, is_before = observed(what, place), stages(place)
            model = MODEL + step.to_bytes(4, "big") if what == "push" else NEW
            kill(store, processes, place, what, model, keys, step)
            after = {
                "push": full(model), "promote": full(NEW), "rollback": full(OLD), "pause": full(OLD, paused=True)
            }.get(what, is_before)  # fmt: skip
            assert stages(place) in {is_before, after}
            current = place.current()
            assert current is not None and current.version in {is_before[0][0], after[0][0]}
            assert not (health := verify(place.root)).problems, health.problems
            ends.append(observed(what, place) != before)
            place.publish(NEXT)
            assert stages(place) == full(NEXT)
    assert ends == sorted(ends) and set(ends) == {False, True}


def test_killed_conversion_leaves_the_registry_unsigned_or_signed_with_its_releases(
    store: Store, processes: Pushers, tmp_path: Path
) -> None:
    if (gateway := store.gateway) is None:
        pytest.skip("a folder has no requests")

    def run(last: int | None, attempts: int = 5) -> tuple[Place, Path, int]:
        place, keys = store.place(tmp_path), tmp_path / f"keys-{last}"
        place.publish(OLD)
        place.publish(NEW, "canary")
        processes.rest()
        pid = processes.prepare_signed(place, keys, "sign", NEW)
        gateway.reset()

        def kill(number: int, line: str) -> Fault:
            if number == last:
                os.kill(pid, signal.SIGKILL)
                return DROPPED
            return None

        gateway.fault = kill
        processes.start()
        processes.until("ended")
        steps = len(gateway.requests)
        gateway.reset()
        errors = [line["error"] for line in processes.said if "error" in line]
        if attempts and errors and all("has taken over the lock" in one for one in errors):
            return run(last, attempts - 1)  # A machine under load exceeds the short time of the tests' lock.
        assert not errors
        return place, keys, steps

    _, _, steps = run(None)
    ends = []
    stride = max(1, steps // SIGNED_KILLS)
    for step in sorted({*range(stride // 4, steps, stride), steps - 1}):
        place, keys, _ = run(step)
        found = place.current()
        assert found is not None and found.version == version_of(OLD)
        try:
            place.publish(OLD)  # as before, without keys
            ends.append(False)
            assert sign(place.root, keys).releases == 2
        except RegistryError as error:
            assert "there is no key set for it here" in str(error)
            ends.append(True)
        with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
            health = verify(place.root)
            assert (health.anchored, health.releases, health.problems) == (True, 2, ())
            assert stages(place) == full(OLD)
    assert ends == sorted(ends) and set(ends) == {False, True}
