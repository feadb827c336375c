"""What every kind of registry promises. Each test runs on every kind, against a server that speaks its protocol."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.core.errors import MetadataError, RegistryError, SpecError
from components.push.artifact import artifact_files
from components.push.release_files import described
from tests.components.push.places import MODEL, Place, Store, manifest_of

SHA256 = hashlib.sha256(MODEL).hexdigest()
VERSION = SHA256[:16]
HERE = f"phone/shoes/{VERSION}"
OTHER = MODEL[::-1]
OTHER_VERSION = hashlib.sha256(OTHER).hexdigest()[:16]


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Place:
    return store.place(tmp_path)


@pytest.fixture
def file_place(place: Place) -> Place:
    """A registry whose files have paths; `test_oci_registry.py` tests the same of tags."""
    if place.spec.kind == "oci":
        pytest.skip("an OCI registry has tags instead of files at paths")
    return place


def test_release_has_the_same_files_in_every_registry(file_place: Place) -> None:
    release = file_place.push()
    files = file_place.files.all()
    beside = sorted(f"{HERE}/{name}" for name in artifact_files(release))
    assert [name.rpartition("/")[2] for name in sorted(beside, key=len)] == ["oci-config.json", "oci-manifest.json"]
    assert sorted(files) == [*beside, f"{HERE}/manifest.json", f"{HERE}/model.tflite", f"{HERE}/model.tflite.gz",
                             "phone/shoes/stable.json"]  # fmt: skip
    assert files[f"{HERE}/model.tflite"] == MODEL == gzip.decompress(files[f"{HERE}/model.tflite.gz"])
    assert json.loads(files["phone/shoes/stable.json"]) == {"version": VERSION, "sha256": SHA256, "bytes": 2048}
    assert hashlib.sha256(files[f"{HERE}/manifest.json"]).hexdigest() == release.manifest_sha256
    assert (release.version, release.path) == (VERSION, f"{file_place.root}/{HERE}")
    assert file_place.current() == release
    assert file_place.current("beta") is None


def test_files_beside_the_model_are_verified_and_never_replaced(place: Place) -> None:
    registry = place.open()
    releases = []
    for card in (b"first", b"second"):
        files = {"README.md": card, "microcontroller/model.h": b"header"}
        manifest = manifest_of(MODEL).model_copy(update={"files": described(files)})
        releases.append(registry.put("phone", "shoes", MODEL, manifest, files))
        registry.commit(releases[-1])
        with pytest.raises(RegistryError, match="describes other files"):
            registry.put("phone", "shoes", MODEL, manifest, {**files, "README.md": b"other"})
    assert place.current() == releases[-1]
    name = f"{HERE}/content/{hashlib.sha256(b'second').hexdigest()[:16]}/README.md"
    assert place.files.all()[name] == b"second"
    place.files.write(name, b"changed")
    with pytest.raises(RegistryError, match=r"README\.md: the release is corrupt: this file is not the one"):
        place.current()
    place.files.remove(name)
    with pytest.raises(RegistryError, match=r"this is not a complete release: .*README\.md"):
        place.kind.resolve(f"{place.root}/{HERE}")


def test_release_is_there_before_a_channel_points_at_it(place: Place) -> None:
    assert place.versions() == ()
    old, registry = place.push(OTHER), place.open()
    release = registry.put("phone", "shoes", MODEL, manifest_of(MODEL))
    assert place.versions() == tuple(sorted((VERSION, old.version)))
    assert place.current() == old
    registry.commit(release)
    assert place.current() == release
    assert place.open().versions("watch", "shoes") == ()


def test_nothing_changes_when_the_same_is_pushed_again(place: Place) -> None:
    first = place.push()
    before = place.files.all()
    assert place.push() == first
    assert place.files.all() == before


def test_newest_push_of_the_same_bytes_gives_the_manifest(place: Place) -> None:
    place.push()
    again = place.push(accuracy=0.5)
    found = place.current()
    assert found == again
    assert found is not None and found.manifest.metrics["accuracy"].value == 0.5
    assert place.versions() == (VERSION,)


def test_channels_move_alone(place: Place) -> None:
    first, second = place.push(), place.push(OTHER)
    place.push(channel="beta")
    assert (place.current(), place.current("beta")) == (second, first)


def test_rollback_reports_what_the_channel_pointed_at(place: Place) -> None:
    first, second = place.push(), place.push(OTHER)
    assert place.kind.point_at(first.path, "stable") == (second.version, first)
    assert place.current() == first
    assert place.kind.point_at(first.path, "stable") == (first.version, first)
    with pytest.raises(RegistryError, match=r"there is no such channel \(expected: stable; found: beta\)"):
        place.kind.point_at(first.path, "beta")


def test_rollback_is_refused_to_a_release_in_another_place(file_place: Place) -> None:
    file_place.push()
    for name, content in file_place.files.all().items():
        file_place.files.write(name.replace("phone", "watch"), content)
    with pytest.raises(RegistryError, match=r"in the wrong location .*expected: a folder \.\.\./phone/shoes"):
        file_place.kind.point_at(f"{file_place.root}/watch/shoes/{VERSION}", "stable")


@pytest.mark.parametrize("file", ["model.tflite", "model.tflite.gz"])
@pytest.mark.parametrize("change", [lambda old: b"\xff" + old[1:], lambda old: old[:-1], lambda old: b""])
def test_damaged_release_is_refused_and_kept(place: Place, file: str, change: Callable[[bytes], bytes]) -> None:
    release = place.push()
    place.files.write(f"{HERE}/{file}", change(place.files.all()[f"{HERE}/{file}"]))
    before = place.files.all()
    for refused in (place.push, place.current, lambda: place.kind.resolve(release.path),
                    lambda: place.kind.point_at(release.path, "stable")):  # fmt: skip
        with pytest.raises(RegistryError, match="the release is corrupt"):
            refused()
    assert place.files.all() == before


def test_missing_file_is_named(place: Place) -> None:
    release = place.push()
    place.files.remove(f"{HERE}/model.tflite.gz")
    with pytest.raises(RegistryError, match=r"this is not a complete release: .*model\.tflite\.gz"):
        place.kind.resolve(release.path)


@pytest.mark.parametrize("pointer", [b"{", b'{"version": "x"}', b""])
def test_broken_pointer_is_reported_and_written_again(file_place: Place, pointer: bytes) -> None:
    release = file_place.push()
    file_place.files.write("phone/shoes/stable.json", pointer)
    with pytest.raises(RegistryError, match="the channel's pointer cannot be read"):
        file_place.current()
    assert file_place.kind.point_at(release.path, "stable") == (None, release)
    file_place.files.write("phone/shoes/stable.json", pointer)
    assert file_place.push() == release == file_place.current()


def test_address_leads_to_a_release_a_file_of_one_or_a_model(file_place: Place) -> None:
    release = file_place.push()
    file_place.files.write("app/other.tflite", OTHER)
    for target in (release.path, f"{release.path}/model.tflite", f"{release.path}/model.tflite.gz"):
        found = file_place.kind.resolve(target)
        assert (found.address, found.sha256, found.manifest_sha256) == (release.path, SHA256, release.manifest_sha256)
    model = file_place.kind.resolve(f"{file_place.root}/app/other.tflite")
    assert (model.sha256, model.manifest_sha256) == (hashlib.sha256(OTHER).hexdigest(), None)
    with pytest.raises(MetadataError, match="there is no release or model here"):
        file_place.kind.resolve(f"{file_place.root}/phone/shoes/{'0' * 16}")


def test_channels_beside_a_release_are_listed_with_what_they_point_at(file_place: Place) -> None:
    first, second = file_place.push(), file_place.push(OTHER)
    file_place.push(channel="beta")
    stable, beta = f"{file_place.root}/phone/shoes/stable.json", f"{file_place.root}/phone/shoes/beta.json"
    for release in (first, second):
        found = dict(file_place.kind.channels(release.path))
        assert found == {beta: file_place.kind.resolve(first.path), stable: file_place.kind.resolve(second.path)}
    file_place.files.write("phone/shoes/beta.json", b"{")
    assert "the channel's pointer cannot be read" in str(dict(file_place.kind.channels(first.path))[beta])
    file_place.files.remove(f"{HERE}/model.tflite")
    found = dict(file_place.kind.channels(first.path))
    assert found[stable] == file_place.kind.resolve(second.path)
    assert dict(file_place.kind.channels(f"{file_place.root}/watch/shoes/{VERSION}")) == {}


@pytest.mark.parametrize(
    "change", [{"version": OTHER_VERSION}, {"version": f"./{VERSION}"}, {"sha256": "0" * 64}, {"bytes": 1}]
)
def test_pointer_that_differs_from_its_release_is_refused(file_place: Place, change: dict[str, object]) -> None:
    file_place.push(OTHER)
    file_place.push()
    pointer = {"version": VERSION, "sha256": SHA256, "bytes": 2048, **change}
    file_place.files.write("phone/shoes/stable.json", json.dumps(pointer).encode())
    with pytest.raises(RegistryError, match=r"the channel's pointer differs from its release|not a complete release"):
        file_place.current()


def test_channel_of_one_device_must_not_serve_the_release_of_another(file_place: Place) -> None:
    release = file_place.push()
    for name, content in file_place.files.all().items():
        file_place.files.write(name.replace("phone", "watch"), content)
    ((_, found),) = file_place.kind.channels(release.path.replace("/phone/", "/watch/"))
    assert "this release is in the wrong location in the registry" in str(found)


def test_release_exists_until_it_is_removed(place: Place) -> None:
    release = place.push()
    assert place.kind.exists(release.path)
    assert not place.kind.exists(f"{place.root}/phone/shoes/{'0' * 16}")


def test_check_leaves_nothing(place: Place) -> None:
    place.open().check_writable()
    assert place.files.all() == {}


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "Upper"])
def test_name_that_is_no_folder_name_is_refused(place: Place, name: str) -> None:
    with pytest.raises(SpecError, match="cannot be a folder name in the registry"):
        place.push(name=name)
    with pytest.raises(RegistryError, match="describes other bytes"):
        place.open().put("phone", "shoes", MODEL, manifest_of(OTHER))
    assert place.files.all() == {}
