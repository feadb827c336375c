"""A release in an object store is verified, traced, rolled back to, and kept like one in a folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd
from typer.testing import CliRunner

from components.core.errors import MetadataError, StorageError
from components.push.release import Release
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from pipelines.file.environment import environment
from pipelines.runs.lineage import release_break
from pipelines.runs.releases import releases_of
from pipelines.storage.metadata_connection import open_store
from tests.components.push.places import KINDS, MODEL, Place, Store, store_of
from tests.object_store import S3Server, free_port

OTHER = MODEL[::-1]


@pytest.fixture(scope="module", params=KINDS[1:])
def remote(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param) as running:
        yield running


class Recorded:
    """A registry with a release that a run pushed, and a newer one that none did."""

    def __init__(self, place: Place, root: Path) -> None:
        self.place, self.root = place, root
        self.store: Any = open_store(environment(root, None).metadata_url)
        self.good, self.forged = place.push(), place.push(OTHER)
        kind = self.store.put_artifact_type(mlmd.ArtifactType(name="PushedModel"))
        self.pushed = mlmd.Artifact(type_id=kind, uri="pushed/9", state=mlmd.Artifact.LIVE)
        for name, value in recorded(self.good).items():
            self.pushed.custom_properties[name].string_value = value
        self.store.put_artifacts([self.pushed])

    def run(self, *arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*arguments, "--root", str(self.root)])
        assert S3Server.secret not in result.output
        return result.exit_code, " ".join(result.output.split())


def recorded(release: Release) -> dict[str, str]:
    return {
        "release_path": release.path,
        "model_sha256": release.manifest.sha256,
        "release_manifest_sha256": release.manifest_sha256,
        "version": release.version,
    }


@pytest.fixture
def found(remote: Store, tmp_path: Path) -> Recorded:
    root = tmp_path / "root"
    root.mkdir()
    return Recorded(remote.place(tmp_path), root)


def test_commands_take_addresses(found: Recorded) -> None:
    for target in (found.good.path, f"{found.good.path}/model.tflite"):
        code, said = found.run("lineage", target)
        assert (code, f"release_path: {found.good.path}" in said.replace("│ ", "")) == (ExitCode.OK, True), said
    code, said = found.run("verify", found.good.path)
    pointer = f"channel {found.place.pointer()}"
    assert (code, f"{pointer}: CHANGED" in said) == (ExitCode.NODE_FAILED, True), said
    for command in ("lineage", "verify", "rollback"):
        code, said = found.run(command, found.forged.path)
        assert (code, "no run of this metadata store has pushed this release" in said) == (
            ExitCode.NODE_FAILED,
            True,
        ), said
    assert found.place.current() == found.forged
    code, said = found.run("rollback", found.good.path)
    was = f"stable of shoes for phone: {found.good.version}, was {found.forged.version}"
    assert (code, said) == (ExitCode.OK, was)
    assert found.place.current() == found.good
    code, said = found.run("verify", found.good.path)
    assert (code, f"{pointer}: verified" in said) == (ExitCode.OK, True), said


def test_bytes_and_digests_from_a_device_lead_to_the_release(found: Recorded, tmp_path: Path) -> None:
    digest = found.good.manifest.sha256
    # As they are on a device, which has no manifest of the release.
    device = tmp_path / "device"
    device.mkdir()
    (device / "model.tflite").write_bytes(MODEL)
    (device / "model.tflite.gz").write_bytes(gzip.compress(MODEL))
    targets = [str(device / "model.tflite"), str(device / "model.tflite.gz"), digest, f"sha256:{digest}", digest[:16]]
    for target in targets:
        code, said = found.run("lineage", target)
        assert (code, f"release_path: {found.good.path}" in said.replace("│ ", "")) == (ExitCode.OK, True), said
    code, said = found.run("lineage", "0" * 64)
    assert (code, "has no record of a model with these bytes" in said) == (ExitCode.NODE_FAILED, True), said
    (device / "model.tflite.gz").write_bytes(b"no gzip")
    code, said = found.run("lineage", str(device / "model.tflite.gz"))
    assert code == ExitCode.NODE_FAILED, said


def test_digest_that_several_models_have_is_refused(found: Recorded) -> None:
    twin = found.good.manifest.sha256[:20] + "0" * 44
    found.pushed.custom_properties["model_sha256"].string_value = twin
    found.pushed.ClearField("id")
    found.pushed.uri = "pushed/10"
    found.store.put_artifacts([found.pushed])
    code, said = found.run("lineage", twin[:18])
    assert (code, "several models have a digest that begins with these digits" in said) == (
        ExitCode.NODE_FAILED,
        True,
    ), said


def test_edited_manifest_is_found(found: Recorded, remote: Store) -> None:
    name = f"phone/shoes/{found.good.version}/manifest.json"
    content = found.place.files.all()[name]
    found.place.files.write(name, content.replace(b"0.875", b"0.999"))
    # An OCI artifact holds the digest of the manifest, so that the registry's own reader finds the change.
    by_artifact = "the release is corrupt: its manifest is not the one that was pushed"
    by_record = "the manifest of this release is not the one that was written"
    expected = by_artifact if remote.kind == "oci" else by_record
    for command in ("lineage", "rollback"):
        code, said = found.run(command, found.good.path)
        assert (code, expected in said) == (ExitCode.NODE_FAILED, True), said
    assert found.place.current() == found.forged


def test_every_release_of_a_push_is_compared_with_its_own_record(found: Recorded, tmp_path: Path) -> None:
    with store_of("local") as folders:
        place = folders.place(tmp_path / "registry")
        # Another version of zlib, and so another manifest, in one of the registries.
        place.push(accuracy=0.5)
        second = place.push(accuracy=0.25)
    others = json.dumps([{"path": second.path, "manifest_sha256": second.manifest_sha256}])
    found.pushed.custom_properties["other_releases"].string_value = others
    found.pushed.custom_properties["pushed"].int_value = 1
    (found.pushed.id,) = found.store.put_artifacts([found.pushed])
    addresses = releases_of(found.pushed)
    assert addresses == {found.good.path: found.good.manifest_sha256, second.path: second.manifest_sha256}
    assert [release_break(found.store, found.pushed, address) for address in addresses] == [None, None]
    for target in (second.path, found.good.path):
        code, said = found.run("lineage", target)
        assert (code, second.path in said) == (ExitCode.OK, True), said
    code, said = found.run("rollback", second.path)
    assert (code, said) == (ExitCode.OK, f"stable of shoes for phone: {second.version}, was {second.version}")
    # The manifest of the one isn't accepted in the place of the other.
    name = f"phone/shoes/{second.version}/manifest.json"
    place.files.write(name, found.place.files.all()[name])
    error = release_break(found.store, found.pushed, second.path)
    assert "the manifest of this release is not the one that was written" in str(error)
    assert release_break(found.store, found.pushed, found.good.path) is None


def test_release_that_is_gone_and_store_that_is_away_are_told_apart(
    found: Recorded, remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert release_break(found.store, found.pushed, found.good.path) is None
    found.place.remove(found.good.version)
    with pytest.raises(MetadataError, match="there is no release or model here"):
        release_break(found.store, found.pushed, found.good.path)
    assert not found.place.kind.exists(found.good.path)
    if remote.kind == "s3":
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(StorageError, match="cannot be reached"):
            release_break(found.store, found.pushed, found.good.path)
        code, said = found.run("lineage", found.good.path)
        assert (code, "the object store cannot be reached" in said) == (ExitCode.NODE_FAILED, True)
        assert found.place.kind.exists(found.good.path)
