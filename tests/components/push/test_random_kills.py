"""Six publishers in every kind of registry, of which a random one is killed at a random time, again and again.

The lane `make test-registries` kills 400 times, and 200 times in signed registries: `EDGEMILL_TEST_KILLS`. The suite
kills a few times.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from unittest import mock

import pytest

from components.push import signed
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.trust.keys import VARIABLE
from tests.components.push.places import Place, Store
from tests.components.push.pusher import QUICK, Pushers

LOCK = QUICK
KILLS = int(os.environ.get("EDGEMILL_TEST_KILLS", "3"))
PUBLISHERS = 6
# A registry is checked completely and replaced after so many kills, because lists of releases grow.
_ROUND = 50
# About the duration of a push while five others run. A kill comes after up to this time.
_LONGEST_SECONDS = {"local": 0.06, "s3": 0.4, "gcs": 0.4, "oci": 0.5}
_SIGNING = 2


@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
def test_random_kills_lose_no_acknowledged_release(
    store: Store, processes: Pushers, tmp_path: Path, is_signed: bool, request: pytest.FixtureRequest
) -> None:
    chance, killed, published = random.Random(16), 0, 0
    # `test_signed_kills` also kills signed pushes, at chosen steps.
    wanted = (KILLS + 1) // 2 if is_signed else KILLS
    while killed < wanted:
        place = store.place(tmp_path / str(killed))
        keys = tmp_path / f"keys-{killed}" if is_signed else None
        kills = min(_ROUND, wanted - killed)
        with mock.patch.dict(os.environ, {VARIABLE: str(keys or "")}):
            if keys is not None:
                place.sign(keys)
            published += len(killed_at_random(store, place, processes, chance, kills, keys))
        killed += kills
    request.node.user_properties += [("kills", killed), ("acknowledged", published)]


def killed_at_random(
    store: Store, place: Place, processes: Pushers, chance: random.Random, kills: int, keys: Path | None
) -> set[str]:
    """Kill publishers of one registry, check it after each kill, and return what was acknowledged."""
    processes.rest()
    running = [processes.prepare_endless(place, number, keys) for number in range(1, PUBLISHERS + 1)]
    processes.start()
    for kill in range(kills):
        time.sleep(chance.uniform(0, _LONGEST_SECONDS[store.kind] * (_SIGNING if keys else 1)))
        victim = running.pop(chance.randrange(PUBLISHERS))
        os.kill(victim, signal.SIGKILL)
        processes.until("ended")
        assert not [line for line in processes.said if "error" in line]
        if seen := set(processes.acknowledged()):
            assert seen <= set(place.versions())
            assert place.current() is not None
        running.append(processes.prepare_endless(place, PUBLISHERS + kill + 1, keys))
    processes.stop()
    processes.until("ended", PUBLISHERS)
    assert not [line for line in processes.said if "error" in line]
    acknowledged = set(processes.acknowledged())
    check_kept(place, acknowledged, keys)
    collect(place.root, grace=0.0)
    check_kept(place, acknowledged, keys)
    assert not verify(place.root).incomplete
    return acknowledged


def check_kept(place: Place, acknowledged: set[str], keys: Path | None) -> None:
    """Everything is intact, and the channel has a release that was acknowledged or whose push was killed."""
    assert acknowledged <= set(place.versions())
    health = verify(place.root)
    assert not health.problems, health.problems
    assert (health.signed, health.releases) == (keys is not None, len(place.versions()))
    found = place.current()
    assert found is not None
    if keys is not None:
        registry = signed.open_signed(place.root)
        assert registry is not None
        settled = registry.channel("phone", "shoes", "stable").complete
        assert settled is not None
        # The pointer follows the signed channel. A push that was killed between both leaves it behind.
        assert settled.version in place.versions()
