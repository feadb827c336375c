"""Changes of a signed registry in a store that are killed at a request: the channel is as it was, or as it was to be.

For folders, see `tests/components/trust/test_signed_registries.py`. The lane `make test-registries` kills at every
request: `EDGEMILL_TEST_SIGNED_KILLS`.
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
from components.push.several import publish
from components.push.upkeep.check import verify
from components.push.upkeep.convert import sign
from components.trust import oci_store, rollout
from components.trust.keys import VARIABLE
from components.trust.setup import create
from components.trust.storage import store_at
from tests.components.push.places import KINDS, MODEL, Place, Store, manifest_of, store_of
from tests.components.push.pusher import QUICK, Pushers, pushers
from tests.gateway import DROPPED, Fault

SIGNED_KILLS = int(os.environ.get("EDGEMILL_TEST_SIGNED_KILLS", "1"))
OLD, NEW, NEXT = MODEL[::-1], MODEL + b"new", MODEL + b"next"


@pytest.fixture(scope="module", params=KINDS[1:])
def remote(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param) as running, mock.patch.multiple(oci_store, **QUICK):
        yield running


@pytest.fixture(scope="module")
def changers(remote: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushers]:
    with pushers(tmp_path_factory.mktemp("go")) as running:
        yield running


def version_of(model: bytes) -> str:
    return sha256_of_bytes(model)[:16]


def push(place: Place, model: bytes, channel: str = "stable") -> None:
    publish([place.spec.model_copy(update={"channel": channel})], "phone", "shoes", model, manifest_of(model))


def promote(place: Place, model: bytes) -> None:
    signed.promote(f"{signed.normal(place.root)}/phone/shoes/{version_of(model)}", "stable", rollout.FULL_SHARE)


def stable(place: Place) -> str:
    registry = signed.open_signed(place.root)
    assert registry is not None
    ((version, share),) = [
        (stage.release.version, stage.share) for stage in registry.channel("phone", "shoes", "stable").stages
    ]
    assert share == rollout.FULL_SHARE
    return version


def before(what: str, place: Place) -> None:
    """Bring the stable channel to where a change begins."""
    if what == "rollback":
        push(place, OLD)
        promote(place, NEW)
    elif stable(place) != version_of(OLD):
        push(place, OLD)


@pytest.mark.parametrize("what", ["push", "promote", "rollback"])
def test_killed_change_of_a_signed_channel_leaves_the_old_release_or_the_new_one(
    remote: Store, changers: Pushers, tmp_path: Path, what: str
) -> None:
    gateway, place, keys = remote.gateway, remote.place(tmp_path), tmp_path / "keys"
    assert gateway is not None
    create(root := signed.normal(place.root), store_at(root), keys)

    def run(model: bytes, last: int | None) -> int:
        """Carry out the change in a process that is killed before a request; returns the number of requests."""
        changers.rest()
        pid = changers.prepare_signed(place, keys, what, model)
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
        return steps

    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
        push(place, OLD)
        push(place, NEW, "canary")
        before(what, place)
        steps, ends = run(NEW, None), []
        assert steps > 10
        assert stable(place) == version_of(OLD if what == "rollback" else NEW)
        stride = max(1, steps // SIGNED_KILLS)
        for step in sorted({*range(stride // 2, steps, stride), steps - 1}):
            before(what, place)
            model = MODEL + step.to_bytes(2, "big") if what == "push" else NEW
            old, new = (NEW, OLD) if what == "rollback" else (OLD, model)
            run(model, step)
            found, current = stable(place), place.current()
            assert current is not None and {found, current.version} <= {version_of(old), version_of(new)}
            assert not (health := verify(place.root)).problems, health.problems
            ends.append(found == version_of(new))
            push(place, NEXT)
            assert stable(place) == version_of(NEXT)
    assert ends == sorted(ends) and set(ends) == {False, True}


def test_killed_conversion_leaves_the_registry_unsigned_or_signed_with_its_releases(
    remote: Store, changers: Pushers, tmp_path: Path
) -> None:
    gateway = remote.gateway
    assert gateway is not None

    def run(last: int | None) -> tuple[Place, Path, int]:
        place, keys = remote.place(tmp_path), tmp_path / f"keys-{last}"
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
            assert stable(place) == version_of(OLD)
    assert ends == sorted(ends) and set(ends) == {False, True}
