"""Pushes to every kind of registry that are killed at random times, while others continue.

The lane `make test-registries` kills more of them: `EDGEMILL_TEST_KILLS`.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from tests.components.push.places import KINDS, MODEL, Store, store_of
from tests.components.push.pusher import Pushers, pushers
from tests.components.push.test_faults import version_of

KILLS = int(os.environ.get("EDGEMILL_TEST_KILLS", "4"))
_LONGEST_SECONDS = {"local": 0.06, "s3": 0.4, "gcs": 0.4, "oci": 0.5}


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def processes(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushers]:
    with pushers(tmp_path_factory.mktemp("go")) as running:
        yield running


def test_random_kills_lose_no_acknowledged_release(store: Store, processes: Pushers, tmp_path: Path) -> None:
    place, chance = store.place(tmp_path), random.Random(16)
    place.push()
    acknowledged: set[str] = set()
    for kill in range(KILLS):
        processes.rest()
        number = kill.to_bytes(2, "big")
        # Two push, one of them is killed, and sometimes both push the same.
        first = processes.prepare(place, [MODEL + number + bytes([i]) for i in range(3)], kill_at=-1)["pid"]
        processes.prepare(place, [MODEL + number + bytes([i * 2]) for i in range(2)], kill_at=-1)
        processes.start()
        time.sleep(chance.uniform(0, _LONGEST_SECONDS[store.kind]))
        with suppress(ProcessLookupError):  # It was faster.
            os.kill(first, signal.SIGKILL)
        processes.until("ended", 2)
        assert not [line for line in processes.said if "error" in line]
        acknowledged |= set(processes.acknowledged())
        assert acknowledged <= set(place.versions())
        assert not (health := verify(place.root)).problems, health.problems
        assert place.current() is not None
    collect(place.root, grace=0.0)
    assert acknowledged <= set(place.versions())
    assert not verify(place.root).incomplete
    assert version_of(MODEL) in place.versions()
