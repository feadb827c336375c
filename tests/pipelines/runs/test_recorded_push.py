"""A release counts only if a run pushed it, wherever its folder is now."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd
from typer.testing import CliRunner

from components.core.errors import MetadataError, RegistryError, TamperedError
from components.core.files import sha256_of, sha256_of_bytes
from components.push.folder import FolderRegistry
from components.push.folder_releases import point_at
from components.push.release import Release, ReleaseManifest
from components.spec.recipe import Recipe
from components.spec.registry import LocalRegistry
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from pipelines.file.environment import environment
from pipelines.runs.lineage import channel_breaks, recorded_push
from pipelines.storage.metadata_connection import open_store

GOOD, FAILED = b"the blessed model", b"the model that failed its gate"


class Pushed:
    """A registry with one release that a run pushed, and one that has only the form of a release."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.root.mkdir()
        self.url = environment(self.root, None).metadata_url
        self.store: Any = open_store(self.url)
        self.forged = self.release(FAILED)
        self.good = self.release(GOOD)
        types = {name: self.store.put_artifact_type(mlmd.ArtifactType(name=name)) for name in ("Model", "PushedModel")}
        candidate = mlmd.Artifact(type_id=types["Model"], uri="candidate/7", state=mlmd.Artifact.LIVE)
        candidate.custom_properties["sha256"].string_value = sha256_of_bytes(FAILED)
        pushed = mlmd.Artifact(type_id=types["PushedModel"], uri="pushed/9", state=mlmd.Artifact.LIVE)
        for name, value in {
            "release_path": str(Path(self.good.path).resolve()),
            "model_sha256": sha256_of_bytes(GOOD),
            "release_manifest_sha256": sha256_of(Path(self.good.path, "manifest.json")),
        }.items():
            pushed.custom_properties[name].string_value = value
        self.store.put_artifacts([candidate, pushed])

    def release(self, model: bytes) -> Release:
        manifest = ReleaseManifest(
            name="shoes",
            device_class="phone",
            device="phone_cpu",
            sha256=sha256_of_bytes(model),
            bytes=len(model),
            recipe=Recipe.model_validate({"name": "int8", "scheme": "static_wi8_ai8"}),
            metrics={"accuracy": {"value": 0.75}},
        )
        spec = LocalRegistry.model_validate({"kind": "local", "root": str(self.folder / "registry")})
        registry = FolderRegistry(spec)
        release = registry.put("phone", "shoes", model, manifest)
        registry.commit(release)
        return release

    def push_of(self, release: Path) -> Any:
        return recorded_push(self.store, FolderRegistry.resolve(str(release)))

    def run(self, *arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*arguments, "--root", str(self.root)])
        return result.exit_code, " ".join(result.output.split())

    def pointer(self) -> bytes:
        return (self.folder / "registry" / "phone" / "shoes" / "stable.json").read_bytes()


@pytest.fixture
def pushed(tmp_path: Path) -> Pushed:
    return Pushed(tmp_path)


def edit(release: Path) -> None:
    path = release / "manifest.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.75", b"0.99"))
    assert path.read_bytes() != content


def test_release_that_no_run_pushed_is_refused_by_every_command(pushed: Pushed) -> None:
    with pytest.raises(MetadataError, match="no run of this metadata store has pushed this release") as caught:
        pushed.push_of(Path(pushed.forged.path))
    assert caught.value.measured == "a model that was not pushed: candidate/7"
    before = pushed.pointer()
    for command in ("verify", "lineage", "rollback"):
        code, said = pushed.run(command, pushed.forged.path)
        assert (code, "no run of this metadata store has pushed" in said) == (ExitCode.NODE_FAILED, True), said
    assert pushed.pointer() == before


def test_release_is_recognized_where_its_registry_is_now(pushed: Pushed) -> None:
    moved = pushed.folder / "mounted"
    (pushed.folder / "registry").rename(moved)
    release = moved / "phone" / "shoes" / pushed.good.version
    for target in (release, release / "model.tflite", release / "model.tflite.gz"):
        assert pushed.push_of(target).uri == "pushed/9"
    edit(release)
    with pytest.raises(TamperedError, match="the manifest of this release is not the one that was written"):
        pushed.push_of(release)


def test_rollback_goes_to_unchanged_releases_of_runs_only(pushed: Pushed) -> None:
    pushed.release(FAILED)
    forged = pushed.pointer()
    edit(Path(pushed.good.path))
    code, said = pushed.run("rollback", pushed.good.path)
    assert (code, "the manifest of this release is not the one" in said) == (ExitCode.NODE_FAILED, True), said
    assert pushed.pointer() == forged
    code, said = pushed.run("rollback", pushed.good.path, "--files-only")
    assert (code, said) == (
        ExitCode.OK,
        f"stable of shoes for phone: {pushed.good.version}, was {pushed.forged.version}",
    )


def test_rollback_is_refused_to_a_release_of_another_device(pushed: Pushed) -> None:
    other = pushed.folder / "registry" / "watch" / "shoes"
    shutil.copytree(Path(pushed.good.path).parent, other)
    with pytest.raises(RegistryError, match=r"in the wrong location .*expected: a folder \.\.\./phone/shoes"):
        point_at(other / pushed.good.version, "stable")


def pointing_at(release: Release, **changes: object) -> str:
    pointer = {"version": release.version, "sha256": release.manifest.sha256, "bytes": release.manifest.bytes}
    return json.dumps({**pointer, **changes})


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        (lambda _: "{", "stable.json: the channel's pointer cannot be read"),
        (lambda _: "", "stable.json: the channel's pointer cannot be read"),
        (lambda pushed: pointing_at(pushed.good, version="0" * 16), "this is not a complete release"),
        (lambda pushed: pointing_at(pushed.good, sha256="0" * 64), "the channel's pointer differs from its release"),
        (lambda pushed: pointing_at(pushed.good, bytes=1), "the channel's pointer differs from its release"),
        (lambda pushed: pointing_at(pushed.good, version=f"./{pushed.good.version}"), "differs from its release"),
        (lambda pushed: pointing_at(pushed.forged), "no run of this metadata store has pushed this release"),
    ],
)
def test_pointer_to_anything_but_a_pushed_release_is_a_change(
    pushed: Pushed, pointer: Callable[[Pushed], str], message: str
) -> None:
    code, said = pushed.run("verify", pushed.good.path)
    assert (code, "stable.json: verified" in said) == (ExitCode.OK, True), said
    path = Path(pushed.good.path).parent / "stable.json"
    path.write_text(pointer(pushed))
    code, said = pushed.run("verify", pushed.good.path)
    assert (code, "stable.json: CHANGED" in said, message in said) == (ExitCode.NODE_FAILED, True, True), said


def test_channel_of_a_device_that_names_the_release_of_another_is_a_change(pushed: Pushed) -> None:
    phone = Path(pushed.good.path).parent
    watch = phone.parents[1] / "watch" / "shoes"
    shutil.copytree(phone, watch)
    ((name, found),) = channel_breaks(pushed.store, str(watch / pushed.good.version))
    assert name == str(watch / "stable.json")
    assert isinstance(found, RegistryError) and "in the wrong location" in str(found)


def test_model_beside_another_kind_of_manifest_is_no_release(pushed: Pushed, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "model.tflite").write_bytes(GOOD)
    (folder / "manifest.json").write_text('{"start_url": "/"}')
    assert FolderRegistry.resolve(str(folder / "model.tflite")).manifest_sha256 is None


@pytest.mark.parametrize("command", ["verify", "lineage", "rollback", "rollback --files-only"])
@pytest.mark.parametrize("target", ["nosuch/model.tflite", "nosuch", "root", "registry/phone"])
def test_path_without_a_release_is_reported_in_words(pushed: Pushed, command: str, target: str) -> None:
    name, *options = command.split()
    code, said = pushed.run(name, str(pushed.folder / target), *options)
    # `verify` also takes the ID of a run, and looks up a path that does not exist as one.
    unknown_run = command == "verify" and target.startswith("nosuch")
    assert code == (ExitCode.BAD_INPUT if unknown_run else ExitCode.NODE_FAILED), said
    assert "[Errno" not in said and "Remedy: " in said, said
    if "not a complete release" in said and not target.endswith(".tflite"):
        assert f"{pushed.folder / target / 'model.tflite'}: No such file or directory" in said


def test_damaged_manifest_is_named(pushed: Pushed) -> None:
    manifest = Path(pushed.good.path, "manifest.json")
    manifest.write_bytes(manifest.read_bytes()[:100])
    with pytest.raises(RegistryError, match=rf"{manifest}: the manifest of this release is damaged") as caught:
        pushed.push_of(manifest.parent)
    assert "pydantic" not in str(caught.value) and "EOF" in str(caught.value)
