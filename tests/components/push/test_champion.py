"""The champion of a device in each kind of registry: found, pulled back, damaged, unreachable, and in several."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest

from components.facts.champion import Champion
from components.push import signed
from components.push.champion import find_champion, named_now, unreadable
from components.push.content import classes_file
from components.push.registry import store_at
from components.push.release import Release
from components.push.release_files import described
from components.push.several import publish
from components.spec.devices.device import DeviceProfile
from components.spec.recipe import Recipe
from components.spec.registry import LocalRegistry
from components.trust import rollout
from components.trust.keys import VARIABLE
from components.trust.setup import create
from tests.components.push.places import KINDS, MODEL, Place, Store, manifest_of, store_of

OLD, NEW, OTHER = MODEL, MODEL[::-1], MODEL[1:]
PHONE = DeviceProfile(name="phone_cpu", device_class="phone", description="any", schemes=("static_wi8_ai8",))


@pytest.fixture(scope="module")
def stores() -> Iterator[dict[str, Store]]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(store_of(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Place:
    return stores[request.param].place(tmp_path / "registry")


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    with store_of("local") as store:
        return store.place(tmp_path / "folder")


def champion(
    *places: Place, device: DeviceProfile = PHONE, classes: tuple[str, ...] = ()
) -> tuple[Champion, bytes | None]:
    return find_champion([one.spec for one in places], device, "shoes", classes)


def version_of(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()[:16]


def push(place: Place, model: bytes, **changes: object) -> Release:
    (release,), _ = publish([place.spec], "phone", "shoes", model, manifest_of(model).model_copy(update=changes))
    return release


def test_champion_is_the_release_that_the_channel_names(place: Place) -> None:
    assert champion(place)[0].state == "none"
    for model in (OLD, NEW):
        push(place, model)
        found, content = champion(place)
        assert (found.state, found.version, content) == ("found", version_of(model), model)
        assert found.sha256 == hashlib.sha256(model).hexdigest()
        assert found.path == place.current().path and found.notes == ()  # type: ignore[union-attr]
    # Another device's release, another pipeline's, and another channel's are not the champion.
    tablet = PHONE.model_copy(update={"device_class": "tablet"})
    assert champion(place, device=tablet)[0].state == "none"
    assert find_champion([place.spec], PHONE, "boots")[0].state == "none"
    assert find_champion([place.spec.model_copy(update={"channel": "beta"})], PHONE, "shoes")[0].state == "none"


def test_release_that_was_pulled_back_is_no_champion_any_more(place: Place) -> None:
    old = push(place, OLD)
    push(place, NEW)
    before = named_now([place.spec], "phone", "shoes")
    place.kind.point_at(old.path, "stable")
    assert champion(place)[1] == OLD
    assert named_now([place.spec], "phone", "shoes") not in {before, None}
    push(place, NEW)
    assert named_now([place.spec], "phone", "shoes") == before


def test_damaged_champion_is_unknown_and_the_message_says_what_is_damaged(place: Place) -> None:
    version = push(place, OLD).version
    place.files.write(f"phone/shoes/{version}/model.tflite", OLD[:-1] + b"!")
    found, content = champion(place)
    assert (found.state, found.version, content) == ("unknown", None, None)
    assert "corrupt" in found.sightings[0].why and version in found.sightings[0].why
    assert named_now([place.spec], "phone", "shoes") is None
    error = unreadable(found)
    assert error is not None and "corrupt" in str(error) and "champion: report" in str(error)


def test_same_bytes_after_another_decision_are_the_same_champion(folder: Place) -> None:
    push(folder, OLD)
    before = champion(folder), named_now([folder.spec], "phone", "shoes")
    push(folder, OLD, parents={"decision": "d" * 64})
    assert (champion(folder), named_now([folder.spec], "phone", "shoes")) == before
    push(folder, OLD, recipe=Recipe.model_validate({"name": "int4", "scheme": "static_wi8_ai8"}))
    assert named_now([folder.spec], "phone", "shoes") != before[1]


def test_registry_that_is_away_is_said_and_another_one_is_asked(
    stores: dict[str, Store], folder: Place, tmp_path: Path
) -> None:
    away = stores["s3"].place(tmp_path)
    push(away, NEW)
    stores["s3"].gateway.fault = lambda *_: (403, "<Error><Code>AccessDenied</Code></Error>")  # type: ignore[union-attr]
    try:
        # Nothing in the folder doesn't mean that nothing is in the other one.
        alone, content = champion(away, folder)
        assert (alone.state, content) == ("unknown", None)
        assert [one.state for one in alone.sightings] == ["unknown", "none"]
        push(folder, OLD)
        found, content = champion(away, folder)
    finally:
        stores["s3"].gateway.reset()  # type: ignore[union-attr]
    assert (found.state, content) == ("found", OLD)
    (note,) = found.notes
    assert f"the registry {away.root} (stable) does not answer" in note and "cannot be used" in note
    assert unreadable(found) is None and unreadable(alone) is not None


def test_first_registry_counts_if_several_name_different_releases(folder: Place, tmp_path: Path) -> None:
    second = Place(LocalRegistry(root=str(tmp_path / "second")), folder.files)
    push(folder, OLD)
    push(second, NEW)
    found, content = champion(folder, second)
    assert content == OLD
    assert found.notes == (f"the registry {second.root} (stable) names {version_of(NEW)}",)
    assert champion(second, folder)[1] == NEW


def test_other_classes_are_incomparable_and_another_scheme_is_noted(folder: Place) -> None:
    files = classes_file(("boot", "shoe"))
    manifest = manifest_of(OLD).model_copy(update={"files": described(files), "device": "old_phone"})
    publish([folder.spec], "phone", "shoes", OLD, manifest, files)
    assert champion(folder, classes=("boot", "shoe"))[0].incomparable == ""
    assert champion(folder)[0].incomparable == ""
    swapped = champion(folder, classes=("shoe", "boot"))[0]
    assert swapped.incomparable == "its classes are boot, shoe; those of this pipeline are shoe, boot"
    other = champion(folder, device=PHONE.model_copy(update={"schemes": ("float32",)}))[0]
    assert other.notes == (
        "its scheme static_wi8_ai8 is no longer in the device profile",
        "it was released for the profile 'old_phone' of the same device class",
    )


def test_signed_channel_counts_and_not_the_pointer_beside_it(folder: Place, tmp_path: Path) -> None:
    root = signed.normal(folder.root)
    with mock.patch.dict(os.environ, {VARIABLE: str(tmp_path / "keys")}):
        create(root, store_at(root), tmp_path / "keys")
        assert champion(folder)[0].state == "none"
        old = push(folder, OLD)
        push(folder, NEW)
        # Anyone who can write the pointer still can't choose the champion.
        folder.kind.point_at(old.path, "stable")
        assert champion(folder)[1] == NEW
        address = f"{root}/phone/shoes"
        signed.change(address, "stable", rollout.rolled_back, "rollback")
        assert champion(folder)[1] == OLD
        # A roll-out that has not reached all devices doesn't make a champion, paused or not.
        other = push(Place(folder.spec.model_copy(update={"channel": "beta"}), folder.files), OTHER)
        signed.promote(other.path, "stable", 500)
        assert champion(folder)[1] == OLD
        signed.change(address, "stable", rollout.paused, "pause")
        assert champion(folder)[1] == OLD
        signed.promote(other.path, "stable", rollout.FULL_SHARE)
        assert champion(folder)[1] == OTHER
    # Without its keys, nothing can be verified.
    with mock.patch.dict(os.environ, {VARIABLE: ""}):
        found, _ = champion(folder)
        assert found.state == "unknown" and "there is no key set for it here" in found.sightings[0].why
