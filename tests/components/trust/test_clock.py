"""Machines that sign with a wrong clock, and registries that nobody refreshed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from components.core.errors import RegistryError
from components.push import signed
from components.push.upkeep.check import verify
from components.trust import clock, rollout
from components.trust.setup import renew, rotate
from edgemill.main import app
from tests.components.push.places import MODEL, Place, signed_in, store_of
from tests.components.trust.test_signed_registries import at_day

ROLES = {"root", "targets", "snapshot", "timestamp", "phone.canary", "phone.beta", "phone.stable"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with store_of("local") as running:
        place = running.place(tmp_path / "registry")
    with signed_in(place, tmp_path / "keys"):
        place.publish(MODEL)
        yield place


@pytest.mark.parametrize(
    ("days", "expired"), [(6, set()), (8, {"timestamp"}), (31, {"timestamp", "snapshot"}), (366, ROLES)]
)
def test_expired_roles_are_problems(place: Place, days: int, expired: set[str]) -> None:
    with at_day(days):
        problems = {one.where: one.message for one in verify(place.root).problems}
        assert set(problems) == expired
        assert all("it has expired on " in one for one in problems.values())
        status = CliRunner().invoke(app, ["registry", "status", place.root, "--json"])
        assert set(json.loads(status.stdout)["problems"]) == expired


@pytest.mark.parametrize("what", ["push", "promote", "rollback", "refresh", "rotate"])
def test_clock_that_is_behind_signs_nothing(place: Place, what: str) -> None:
    place.publish(MODEL[::-1])
    address, registry = f"{signed.normal(place.root)}/phone/shoes", place.registry()
    version = place.publish(MODEL)
    changes: dict[str, Callable[[], object]] = {
        "push": lambda: place.publish(MODEL + b"new"),
        "promote": lambda: signed.promote(f"{address}/{version}", "beta", 500),
        "rollback": lambda: signed.change(address, "stable", rollout.rolled_back, "rollback"),
        "refresh": lambda: renew(registry),
        "rotate": lambda: rotate(registry, "timestamp"),
    }
    before = {name: one for name, one in place.files.all().items() if name.startswith("_tuf/")}
    with at_day(-365), pytest.raises(RegistryError, match="clock of this machine is behind") as refused:
        changes[what]()
    last = registry.read().timestamp.signed.expires - timedelta(days=7)
    assert f"expected: at least {last:%Y-%m-%d %H:%M} UTC" in str(refused.value)
    assert f"found: {last - timedelta(days=365):%Y-%m-%d}" in str(refused.value)
    assert "set the clock" in str(refused.value)
    after = {name: one for name, one in place.files.all().items() if name.startswith("_tuf/")}
    assert {name for name in after if "/targets/" not in name} == {name for name in before if "/targets/" not in name}
    assert after["_tuf/timestamp.json"] == before["_tuf/timestamp.json"]
    with at_day(0):
        changes[what]()


def test_clock_that_is_a_little_behind_signs(place: Place) -> None:
    before = clock.now() - timedelta(hours=23)
    with mock.patch.object(clock, "now", lambda: before):
        place.publish(MODEL + b"new")
    assert not verify(place.root).problems


def test_what_was_signed_with_a_clock_ahead_is_named_and_signed_again(place: Place) -> None:
    registry = place.registry()
    with at_day(365):
        renew(registry, force=True)
    problems = {one.where: one.message for one in verify(place.root).problems}
    assert set(problems) >= {"targets", "snapshot", "timestamp", "phone.stable"} and "root" not in problems
    assert "its lifetime is 7 days: a clock was ahead" in problems["timestamp"]
    with pytest.raises(RegistryError, match=r"the clock of the machine that signed last was ahead: .*refresh --force"):
        renew(registry)
    roles, missing = renew(registry, force=True)
    assert set(roles) >= {"targets", "snapshot", "timestamp", "phone.stable"} and not missing
    assert verify(place.root).problems == ()
    place.publish(MODEL + b"new")


def test_refresh_signs_a_role_again_that_is_valid_for_too_long(place: Place) -> None:
    registry = place.registry()
    with at_day(100):
        registry.commit(lambda found: {"targets": found.targets})
    registry.any_clock = True
    registry.commit(lambda _: {}, snapshot=True)
    registry.any_clock = False
    assert [one.where for one in verify(place.root).problems] == ["targets"]
    assert renew(registry) == (("targets", "snapshot", "timestamp"), {})
    assert verify(place.root).problems == ()


def test_time_of_a_timestamp_that_names_none_is_known_by_its_expiry(place: Place) -> None:
    registry = place.registry()
    found = registry.read()
    last: datetime = found.timestamp.signed.expires - timedelta(days=7)
    found.timestamp.signed.unrecognized_fields.clear()
    with at_day(-2), pytest.raises(RegistryError, match=f"at least {last:%Y-%m-%d %H:%M} UTC"):
        clock.check_clock(found, "here")
    clock.check_clock(found, "here")
