"""Devices that pull from each kind of registry, through the server that devices would ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.device_client.folder import DeviceFolder
from components.device_client.pull import Update, pull
from components.device_client.settings import Settings
from tests.components.device_client.fleet import NEW, OLD
from tests.components.device_client.served import served
from tests.components.push.places import KINDS, Place, Store, signed_in, store_of

MOST_REQUESTS, MOST_BYTES = 3, 10_000


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param) as running:
        yield running


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Iterator[Place]:
    place = store.place(tmp_path / "registry")
    with signed_in(place, tmp_path / "keys"):
        yield place


def test_device_with_nothing_new_makes_at_most_3_requests_and_fetches_at_most_10_kb(
    place: Place, store: Store, tmp_path: Path
) -> None:
    old = place.publish(OLD)
    device = DeviceFolder(tmp_path / "device")
    with served(place, store) as asked:
        settings = Settings(asked.url, "phone", "shoes", "stable", "device-1")
        device.create(settings, (tmp_path / "keys/root.json").read_bytes())
        assert pull(device) == Update(old, None)
        new = place.publish(NEW)
        assert pull(device) == Update(new, old)
        assert (device.path / "current/model.tflite").read_bytes() == NEW
        asked.start()
        assert pull(device) == Update(new, new)
        requests, size = asked.counted()
    assert 0 < requests <= MOST_REQUESTS
    assert 0 < size <= MOST_BYTES
