"""What changes of a signed channel download and verify, in every kind of registry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.push import signed
from components.push.audit import read_log
from components.push.upkeep.check import verify
from components.push.upkeep.repair import repair
from components.trust import rollout
from edgemill.commands.rollback import roll_back
from tests.components.push.places import Place, Store, signed_in

OLD, NEW = os.urandom(200_000), os.urandom(200_000)


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Iterator[Place]:
    """A signed registry whose stable channel has an old release, and canary a new one."""
    place = store.place(tmp_path / "registry")
    with signed_in(place, tmp_path / "keys"):
        place.publish(OLD)
        place.publish(NEW, "canary")
        yield place


def address_of(place: Place, model: bytes | None = None) -> str:
    version = f"/{sha256_of_bytes(model)[:16]}" if model else ""
    return f"{signed.normal(place.root)}/phone/shoes{version}"


def damage(place: Place, model: bytes) -> None:
    place.files.write(f"phone/shoes/{sha256_of_bytes(model)[:16]}/model.tflite", b"another model")


def downloaded(store: Store) -> int:
    """Megabytes that went through the gateway are models: two files of each, because noise can't be compressed."""
    return 0 if store.gateway is None else round(store.gateway.bytes / len(NEW))


def test_change_downloads_a_release_once_and_only_one_that_the_channel_did_not_have(store: Store, place: Place) -> None:
    if store.gateway is None:
        pytest.skip("a folder downloads nothing")
    for change, files in (
        (lambda: signed.promote(address_of(place, NEW), "stable", 500), 2),
        (lambda: signed.promote(address_of(place, NEW), "stable", rollout.FULL_SHARE), 2),
        (lambda: signed.change(address_of(place), "stable", rollout.rolled_back, "rollback"), 2),
        (lambda: signed.change(address_of(place), "stable", rollout.paused, "pause"), 0),
        (lambda: roll_back(address_of(place, NEW), "stable", None, None, files_only=True), 2),
    ):
        store.gateway.reset()
        change()
        assert downloaded(store) == files
    found = place.current()
    assert found is not None and found.version == sha256_of_bytes(NEW)[:16]


def test_pointer_follows_the_signed_channel_also_if_it_is_new(place: Place) -> None:
    old, new = (sha256_of_bytes(model)[:16] for model in (OLD, NEW))
    signed.promote(address_of(place, OLD), "beta", 500)
    assert place.current("beta") is None
    for model, version in ((OLD, old), (NEW, new)):
        signed.promote(address_of(place, model), "beta", rollout.FULL_SHARE)
        found = place.current("beta")
        assert found is not None and found.version == version
    assert (verify(place.root).channels, repair(place.root).restored) == (3, ())


def test_change_that_is_refused_is_not_in_the_log(place: Place) -> None:
    before = read_log(place.root)
    with pytest.raises(RegistryError, match=r"canary\.json: the channel cannot be changed: .* no earlier release"):
        signed.change(address_of(place), "canary", rollout.rolled_back, "rollback")
    assert read_log(place.root) == before


def test_damaged_release_reaches_no_channel(place: Place) -> None:
    signed.promote(address_of(place, NEW), "stable", rollout.FULL_SHARE)
    registry = signed.open_signed(place.root)
    assert registry is not None
    before = registry.channel("phone", "shoes", "stable")
    damage(place, OLD)
    for change in (
        lambda: signed.promote(address_of(place, OLD), "stable", 500),
        lambda: signed.change(address_of(place), "stable", rollout.rolled_back, "rollback"),
    ):
        with pytest.raises(RegistryError, match="the release is corrupt"):
            change()
        assert registry.channel("phone", "shoes", "stable") == before
