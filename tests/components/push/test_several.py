"""A push to a folder and to object stores at once: all of them get the release, or the error says which have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from components.core.errors import RegistryError, RegistryUnreachableError
from components.push.release import Release
from components.push.several import publish
from components.spec.registry import BaseRegistry, S3Registry
from tests.components.push.places import FILE_KINDS, MODEL, Place, Store, manifest_of, store_of
from tests.gateway import Fault

OTHER = MODEL[::-1]
DENIED = (403, "<Error><Code>AccessDenied</Code></Error>")


@pytest.fixture(scope="module")
def stores() -> Iterator[list[Store]]:
    with ExitStack() as stack:
        yield [stack.enter_context(store_of(kind)) for kind in FILE_KINDS]


@pytest.fixture
def places(stores: list[Store], tmp_path: Path) -> list[Place]:
    return [store.place(tmp_path) for store in stores]


def push(specs: list[BaseRegistry], model: bytes = MODEL) -> tuple[Release, ...]:
    return publish(specs, "phone", "shoes", model, manifest_of(model))[0]


def specs_of(places: list[Place]) -> list[BaseRegistry]:
    return [place.spec for place in places]


def test_every_registry_gets_the_same_files(places: list[Place]) -> None:
    releases = push(specs_of(places))
    assert [release.path for release in releases] == [
        f"{place.root}/phone/shoes/{releases[0].version}" for place in places
    ]
    assert [place.current() for place in places] == list(releases)
    assert len({release.manifest_sha256 for release in releases}) == 1
    # But for the audit logs.
    first, *others = [
        {name: one for name, one in place.files.all().items() if not name.startswith("_audit/")} for place in places
    ]
    assert all(files == first for files in others)


def test_no_channel_changes_when_one_registry_cannot_hold_the_release(places: list[Place]) -> None:
    before = push(specs_of(places), OTHER)
    away = S3Registry(kind="s3", root="s3://nobodys/x", channel="beta")
    with pytest.raises(RegistryError) as caught:
        push([places[0].spec, away, places[2].spec])
    said = str(caught.value)
    assert said.startswith("the release is not in every registry, so no channel was changed (expected: 3 of 3 reg")
    assert f"found: {places[0].root} (stable) has the release; s3://nobodys/x (beta) failed: s3://nobodys/x/" in said
    assert f"Remedy: create it, or correct its name; {places[2].root} (stable) has the release" in said
    assert "there is no such bucket" in said
    assert [place.current() for place in places] == list(before)
    assert len(places[2].versions()) == 2


def test_channels_that_changed_are_named_and_the_next_push_changes_the_others(
    places: list[Place], stores: list[Store]
) -> None:
    before = push(specs_of(places), OTHER)
    gateway = stores[1].gateway
    assert gateway is not None

    def refuse_pointer(number: int, line: str) -> Fault:
        return DENIED if line.startswith("PUT") and "stable" in line else None

    gateway.fault = refuse_pointer
    with pytest.raises(RegistryError) as caught:
        push(specs_of(places))
    gateway.reset()
    said = str(caught.value)
    assert said.startswith("the channel was not changed in every registry (expected: 3 of 3 registries; found: ")
    for place, outcome in zip(places, ("changed", "failed", "changed"), strict=True):
        assert f"{place.root} (stable) {outcome}" in said
    assert "denies access" in said
    assert places[1].current() == before[1]
    releases = push(specs_of(places))
    assert [place.current() for place in places] == list(releases)


def test_registries_are_away_only_if_nothing_else_failed(places: list[Place], tmp_path: Path) -> None:
    away = S3Registry(kind="s3", root="s3://nobodys/x")
    with pytest.raises(RegistryUnreachableError, match="not in every registry"):
        push([places[0].spec, away])
    version = places[0].versions()[0]
    places[0].files.write(f"phone/shoes/{version}/model.tflite", OTHER)
    with pytest.raises(RegistryError, match="not in every registry") as caught:
        push([places[0].spec, away])
    assert not isinstance(caught.value, RegistryUnreachableError)


def test_error_of_the_only_registry_is_its_own(places: list[Place], stores: list[Store]) -> None:
    gateway = stores[1].gateway
    assert gateway is not None
    gateway.fault = lambda number, line: DENIED
    with pytest.raises(RegistryError, match=r"^s3://mill/.*: the registry cannot be used: the object store"):
        push([places[1].spec])
    gateway.reset()
