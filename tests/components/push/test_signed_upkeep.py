"""Upkeep of signed registries of every kind: verification, superseded metadata, mirrors, and repair."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from components.core.errors import RegistryError, RegistryUnreachableError
from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from components.device_client.settings import Settings
from components.push import signed
from components.push.artifact import artifact_files
from components.push.registry import store_at
from components.push.release import Release, ReleaseManifest
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.push.upkeep.mirror import mirror
from components.push.upkeep.repair import repair
from components.push.upkeep.retention import Retention
from components.spec.registry import LocalRegistry
from components.trust import oci_store, rollout
from components.trust.keys import VARIABLE
from components.trust.names import OCI_REPOSITORY
from components.trust.setup import create, rotate
from tests.components.device_client.fleet import Server, model_of
from tests.components.push.places import FILE_KINDS, KINDS, MODEL, FolderFiles, OciFiles, Place, Store, store_of
from tests.components.push.test_upkeep import other_place

MODELS = [MODEL + bytes([number]) for number in range(6)]


@pytest.fixture(scope="module")
def stores() -> Iterator[dict[str, Store]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield {kind: stack.enter_context(store_of(kind)) for kind in KINDS}


def signed_place(store: Store, folder: Path) -> Iterator[Place]:
    place = store.place(folder / "registry")
    with (
        mock.patch.object(oci_store, "WAIT_SECONDS", 0.05),
        mock.patch.dict(os.environ, {VARIABLE: str(folder / "keys")}),
    ):
        place.sign(folder / "keys")
        yield place


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Iterator[Place]:
    yield from signed_place(stores[request.param], tmp_path)


@pytest.fixture(params=FILE_KINDS)
def file_place(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Iterator[Place]:
    yield from signed_place(stores[request.param], tmp_path)


def metadata(place: Place) -> list[str]:
    return sorted(name for name in store_at(signed.normal(place.root)).names() if not name.startswith("targets/"))


def test_metadata_stays_bounded_and_keeps_what_is_in_force_or_was_until_lately(place: Place) -> None:
    for model in MODELS[:4]:
        place.publish(model)
    before = metadata(place)
    assert collect(place.root, grace=3600.0).removed == ()
    assert metadata(place) == before
    done = collect(place.root, grace=0.0)
    assert {one.what for one in done.removed} == {"superseded metadata"}
    # One of each role, and all roots.
    assert sorted(name.lstrip("0123456789.") for name in metadata(place)) == [
        "phone.beta.json", "phone.canary.json", "phone.stable.json", "root.json", "snapshot.json", "targets.json",
        "timestamp.json"]  # fmt: skip
    health = verify(place.root)
    assert (health.signed, health.anchored, health.problems) == (True, True, ())
    place.publish(MODELS[4])
    assert not verify(place.root).problems


def test_retention_keeps_what_a_channel_can_return_to(place: Place) -> None:
    versions = [place.publish(model) for model in MODELS]
    done = collect(place.root, Retention(keep_last=1), grace=0.0)
    # The history of a channel has three releases.
    assert [one.where for one in done.removed if "outdated" in one.what] == [
        f"phone/shoes/{version}" for version in versions[:2]]  # fmt: skip
    assert [one.what for one in done.removed].count("a pointer to a removed release") == 2
    assert set(place.versions()) == set(versions[2:])
    address = f"{signed.normal(place.root)}/phone/shoes"
    assert signed.change(address, "stable", rollout.rolled_back, "rollback").complete.version == versions[4]
    assert not verify(place.root).problems


def test_what_differs_from_the_signatures_is_named(file_place: Place, tmp_path: Path) -> None:
    version = file_place.publish(MODELS[0])
    here = f"phone/shoes/{version}"
    # A release that fits itself, but isn't what was signed.
    manifest = file_place.files.all()[f"{here}/manifest.json"]
    edited = manifest.replace(b"0.875", b"0.999")
    file_place.files.write(f"{here}/manifest.json", edited)
    release = Release(version=version, path=here, manifest=ReleaseManifest.model_validate_json(edited))
    for name, content in artifact_files(release, edited).items():
        file_place.files.write(f"{here}/{name}", content)
    (problem,) = verify(file_place.root).problems
    assert problem.where == here
    assert "this file is not the one that was signed" in problem.message
    file_place.files.write(f"{here}/manifest.json", manifest)
    snapshot = next(name for name in metadata(file_place) if name.endswith(".snapshot.json"))
    good = file_place.files.all()[f"_tuf/{snapshot}"]
    file_place.files.write(f"_tuf/{snapshot}", good + b" ")
    if snapshot == sorted(name for name in metadata(file_place) if "snapshot" in name)[-1]:
        assert "the signed metadata of the registry is refused" in verify(file_place.root).problems[0].message
    file_place.files.write(f"_tuf/{snapshot}", good)
    for name in file_place.files.all():
        if name.startswith(f"{here}/"):
            file_place.files.remove(name)
    assert "a signed channel names this release, and it is missing" in verify(file_place.root).problems[-1].message
    with mock.patch.dict(os.environ, {VARIABLE: ""}):
        assert verify(file_place.root).anchored is False
        other = tmp_path / "other"
        create("elsewhere", store_at(str(tmp_path / "elsewhere")), other)
        (refused, *_) = verify(file_place.root, trust=other / "root.json").problems
        assert "its root differs" in refused.message


# Each kind is a source and a target once.
@pytest.mark.parametrize(
    ("place", "target"), zip(KINDS, ("oci", "local", "s3", "gcs"), strict=True), indirect=["place"]
)
def test_signed_mirror_updates_a_device_and_follows_its_source(
    place: Place, target: str, stores: dict[str, Store], tmp_path: Path
) -> None:
    place.publish(MODELS[0])
    copy = other_place(place, stores[target], tmp_path)
    done = mirror(place.root, copy.root)
    assert (done.problems, done.signed, len(done.copied)) == ((), True, 1)
    assert verify(copy.root).anchored
    assert not verify(copy.root).problems
    assert mirror(place.root, copy.root).metadata == 0
    place.publish(MODELS[1])
    collect(place.root, grace=0.0)
    assert mirror(place.root, copy.root).metadata > 0
    assert not verify(copy.root).problems
    if target == "local":
        server = Server(Path(copy.root))
        device = DeviceFolder(tmp_path / "device")
        device.create(
            Settings(server.url, "phone", "shoes", "stable", "device-1"), (tmp_path / "keys/root.json").read_bytes()
        )
        pull(device)
        assert model_of(device) == MODELS[1]
        server.close()
    # The copy gets its own push. Going back would alarm devices.
    copy.publish(MODELS[2])
    before = copy.files.all()
    with pytest.raises(RegistryError, match="the target is newer than the source"):
        mirror(place.root, copy.root)
    assert copy.files.all() == before


def test_mirror_of_an_unsigned_registry_into_a_signed_one_is_refused_and_changes_nothing(
    file_place: Place, tmp_path: Path
) -> None:
    file_place.publish(MODELS[0])
    before = file_place.files.all()
    other = Place(LocalRegistry(root=str(tmp_path / "other")), FolderFiles(tmp_path / "other"))
    other.push(MODELS[1])
    with pytest.raises(
        RegistryError, match=r"the target is signed, and the source is not .*found: .*other is not signed"
    ):
        mirror(other.root, file_place.root)
    assert file_place.files.all() == before


def test_mirror_into_another_signed_registry_is_refused(file_place: Place, tmp_path: Path) -> None:
    file_place.publish(MODELS[0])
    other = str(tmp_path / "other")
    create(other, store_at(other), tmp_path / "other-keys")
    with pytest.raises(RegistryError, match="the target is another signed registry: its first root differs"):
        mirror(file_place.root, other)


def test_damaged_metadata_and_releases_are_repaired_from_a_mirror(place: Place, tmp_path: Path) -> None:
    version = place.publish(MODELS[0])
    copy = str(tmp_path / "mirror")
    mirror(place.root, copy)
    good = {name: one for name, one in place.files.all().items() if not name.startswith(("_audit/", "tag "))}
    files = [f"_tuf/{name}" for name in metadata(place) if name != "1.root.json"]
    if not isinstance(place.files, OciFiles):  # For its releases, see `test_upkeep`.
        files += [f"phone/shoes/{version}/{name}" for name in ("manifest.json", "model.tflite")]
        files.append("phone/shoes/stable.json")
    repaired = 0
    for number, name in enumerate(files):
        damages = [good[name][:-9] + b"12345678\n", None]
        for damage in damages if place.spec.kind == "local" else damages[number % 2 :][:1]:
            if isinstance(place.files, OciFiles):
                file = name.removeprefix("_tuf/")
                if damage is None:
                    place.files.remove_tag(f"{OCI_REPOSITORY}:{file}")
                else:
                    plant(place, file, damage)
            elif damage is None:
                place.files.remove(name)
            else:
                place.files.write(name, damage)
            if not verify(place.root).problems:
                continue  # superseded, or replaced by the roles that are in force
            repaired += 1
            assert repair(place.root, [copy], dry_run=True).restored
            done = repair(place.root, [copy])
            assert not done.problems, (name, done.problems)
            assert not verify(place.root).problems
    assert repaired >= 5
    assert place.publish(MODELS[1]) in place.versions()


def test_registry_that_lost_everything_but_its_log_or_a_root_in_between_is_repaired_from_a_mirror(
    file_place: Place, tmp_path: Path
) -> None:
    file_place.publish(MODELS[0])
    for role in ("timestamp", "snapshot", "root"):
        rotate(file_place.registry(), role)
    mirror(file_place.root, copy := str(tmp_path / "mirror"))
    files = sorted(name for name in file_place.files.all() if not name.startswith("_audit/"))
    releases = [name for name in files if name.startswith("phone/")]
    (pointer,) = (name for name in files if name.startswith("_tuf/targets/"))
    for names in [*([f"_tuf/{number}.root.json"] for number in (1, 2, 3, 4)), [pointer], releases, files]:
        for name in names:
            file_place.files.remove(name)
        assert verify(file_place.root).problems
        done = repair(file_place.root, [copy] if names != [pointer] else [])
        assert not done.problems, (names, done.problems)
        assert set(names) & set(done.restored)
        assert not verify(file_place.root).problems
    with pytest.raises(RegistryError, match=r"there is nothing in this place .*found: watch/shoes"):
        repair(file_place.root, [copy], ("watch/shoes",))


def plant(place: Place, file: str, content: bytes) -> None:
    """Tag another artifact as a file of the metadata, as somebody with access to the registry can."""
    store = store_at(place.root)
    with store.exclusive():
        found = store.read(file)
        assert found is not None and store.write_if(file, content, found.version)


@pytest.mark.parametrize("place", ["oci"], indirect=True)
def test_blob_of_metadata_that_the_registry_keeps_damaged_is_named(place: Place, tmp_path: Path) -> None:
    place.publish(MODELS[0])
    copy = str(tmp_path / "mirror")
    mirror(place.root, copy)
    for role in ("snapshot.json", "timestamp.json"):
        snapshot = [one for one in metadata(place) if one.endswith(role)][-1]
        good = place.files.all()[f"_tuf/{snapshot}"]
        place.files.write(f"_tuf/{snapshot}", good[:-9] + b"12345678\n")
        (problem, *_) = verify(place.root).problems
        assert f"edgemill-tuf:{snapshot}" in problem.message
        # It isn't away, and a push must not take it for that. The registry doesn't replace a blob that it has.
        for refused in (lambda: place.publish(MODELS[1]), lambda: repair(place.root, [copy])):
            with pytest.raises(
                RegistryError, match="is refused: the content of this artifact does not match"
            ) as caught:
                refused()
            assert not isinstance(caught.value, RegistryUnreachableError)
        place.files.write(f"_tuf/{snapshot}", good)
        assert not verify(place.root).problems
