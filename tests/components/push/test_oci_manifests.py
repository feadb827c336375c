"""The OCI manifest of a release: the same bytes in every kind of registry, bound, verified, and repaired."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest

from components.core.errors import RegistryError
from components.core.values import serialized
from components.push.artifact import artifact_files, artifact_of, media_type
from components.push.oci.reading import own_tag, repository_at
from components.push.release import Release
from components.push.release_files import described
from components.push.several import publish
from components.push.upkeep.check import verify
from components.push.upkeep.convert import sign
from components.push.upkeep.repair import repair
from components.trust import oci_store
from components.trust.keys import VARIABLE
from tests.components.push.places import FILE_KINDS, KINDS, MODEL, Place, Store, manifest_of, store_of
from tests.components.push.pusher import QUICK
from tests.components.push.test_modelpack import broken_fields, broken_rules

FILES = {"labels.txt": b"shoe\nboot\n", "model_card.md": b"# Shoes", "microcontroller/model.cc": b"// cc"}
MANIFEST = manifest_of(MODEL).model_copy(update={"files": described(FILES), "runtime_floor": "2.3.0"})
VERSION = MANIFEST.sha256[:16]
HERE = f"phone/shoes/{VERSION}"


@pytest.fixture(scope="module")
def stores() -> Iterator[dict[str, Store]]:
    with ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(oci_store, **QUICK))
        yield {kind: stack.enter_context(store_of(kind)) for kind in KINDS}


@pytest.fixture(params=FILE_KINDS)
def place(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Place:
    return stores[request.param].place(tmp_path / "registry")


def pushed(place: Place) -> Release:
    (release,), _ = publish([place.spec], "phone", "shoes", MODEL, MANIFEST, FILES)
    return release


def test_every_kind_of_registry_holds_the_same_manifest_of_the_files_of_the_release(
    stores: dict[str, Store], tmp_path: Path
) -> None:
    found = {}
    for kind, store in stores.items():
        place = store.place(tmp_path / kind)
        release, everything = pushed(place), place.files.all()
        found[kind] = place.artifact(VERSION)
        for layer in json.loads(found[kind])["layers"]:
            path = layer["annotations"]["org.cncf.model.filepath"]
            content = everything[f"{HERE}/{path}"]
            assert layer["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}" and layer["size"] == len(content)
        config, expected = artifact_of(release)
        assert found[kind] == expected
        blobs = {f"sha256:{hashlib.sha256(one).hexdigest()}": one for one in (*everything.values(), config)}
        assert broken_rules(json.loads(found[kind]), json.loads(config), blobs) == []
        assert broken_fields(json.loads(config)) == []
    assert set(found) == {"local", "s3", "gcs", "oci"} and len(set(found.values())) == 1
    manifest = json.loads(found["local"])
    assert len(manifest["layers"]) == 3 + len(FILES)
    assert {name.removeprefix("io.edgemill."): value for name, value in manifest["annotations"].items()} == {
        "org.opencontainers.image.title": "shoes", "org.opencontainers.image.version": VERSION, "name": "shoes",
        "version": VERSION, "device-class": "phone", "device": "phone_cpu", "scheme": "static_wi8_ai8",
        "runtime-floor": "2.3.0"}  # fmt: skip


def test_what_was_made_of_a_release_never_changes() -> None:
    """A registry verifies a release by making its OCI manifest again. If this fails, add a form: `ARTIFACT_FORM`."""
    release = Release(version=VERSION, path="x", manifest=MANIFEST.model_copy(update={"artifact": 1}))
    # A manifest as it was written with the first form. Later versions can add fields.
    written = b'{"a": "manifest"}'
    assert [hashlib.sha256(one).hexdigest()[:16] for one in artifact_of(release, written)] == PINNED
    types = {name: media_type(name).removeprefix("application/vnd.cncf.model.") for name in FILES}
    assert types == {"labels.txt": "doc.v1.raw", "model_card.md": "doc.v1.raw",
                     "microcontroller/model.cc": "code.v1.raw"}  # fmt: skip


PINNED = ["bc46645399e73e88", "704672e92691f8ca"]


@pytest.mark.parametrize("damage", ["changed", "missing", "the configuration"])
def test_damage_is_named_and_repaired(place: Place, damage: str) -> None:
    release = pushed(place)
    artifact, config = artifact_files(release)
    name = f"{HERE}/{config if damage == 'the configuration' else artifact}"
    content = place.files.all()[name]
    if damage == "missing":
        place.files.remove(name)
    else:
        place.files.write(name, content.replace(b"shoes", b"boots"))
    (problem,) = [one for one in verify(place.root).problems if one.where == HERE]
    assert "the OCI manifest of this release is not the one that was pushed" in problem.message
    with pytest.raises(RegistryError, match="the OCI manifest of this release"):
        place.current()
    done = repair(place.root)
    assert (done.restored, done.problems) == ((name,), ())
    assert place.files.all()[name] == content and place.current() == release


def test_repair_makes_none_for_a_manifest_that_was_changed(place: Place) -> None:
    pushed(place)
    manifest = place.files.all()[f"{HERE}/manifest.json"]
    place.files.write(f"{HERE}/manifest.json", manifest.replace(b"0.875", b"0.999"))
    before = place.files.all()
    (problem, *_) = verify(place.root).problems
    assert "the OCI manifest of this release is not the one that was pushed" in problem.message
    assert repair(place.root).problems
    assert {name: content for name, content in place.files.all().items() if name.startswith(HERE)} == {
        name: content for name, content in before.items() if name.startswith(HERE)}  # fmt: skip


def test_push_of_the_same_model_writes_a_lost_manifest_again(stores: dict[str, Store], tmp_path: Path) -> None:
    for kind in FILE_KINDS:
        place = stores[kind].place(tmp_path / kind)
        release = pushed(place)
        for name in artifact_files(release):
            place.files.remove(f"{HERE}/{name}")
        assert pushed(place) == release == place.current()


def test_artifact_with_other_annotations_is_refused(stores: dict[str, Store], tmp_path: Path) -> None:
    place = stores["oci"].place(tmp_path)
    pushed(place)
    repository = repository_at(f"{place.root}/phone/shoes")
    other = json.loads(place.artifact(VERSION))
    other["annotations"]["io.edgemill.device-class"] = "watch"
    content = json.dumps(other, sort_keys=True, separators=(",", ":")).encode()
    for tag in (own_tag(VERSION, content), VERSION, "stable"):
        assert repository.tag(tag, content, repository.manifest(tag))
    assert "the OCI manifest of this release is not" in verify(place.root).problems[0].message
    with pytest.raises(RegistryError, match="the OCI manifest of this release"):
        place.current()


def test_signed_release_keeps_its_manifest(stores: dict[str, Store], tmp_path: Path) -> None:
    """Without a signature, a release without one looks as if it predated them."""
    place = stores["local"].place(tmp_path / "registry")
    release = pushed(place)
    before = release.manifest.model_copy(update={"artifact": 0})
    place.files.write(f"{HERE}/manifest.json", serialized(before))
    for name in artifact_files(release):
        place.files.remove(f"{HERE}/{name}")
    assert not verify(place.root).problems
    assert pushed(place) == release
    sign(place.root, tmp_path / "keys")
    with mock.patch.dict(os.environ, {VARIABLE: str(tmp_path / "keys")}):
        assert not verify(place.root).problems
        place.files.write(f"{HERE}/manifest.json", serialized(before))
        assert "not the one that was signed" in verify(place.root).problems[0].message
