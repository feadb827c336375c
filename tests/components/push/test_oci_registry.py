"""What an OCI registry holds: artifacts of ModelPack, tags, and what other tools read. With Debian's registry."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import MetadataError, RegistryError, SpecError
from components.core.files import sha256_of_bytes
from components.object_store.oci import repository, transport
from components.object_store.oci.repository import Repository
from components.push import signed
from components.push.registry import open_registry
from components.push.release_files import described
from components.push.upkeep.mirror import mirror
from components.push.upkeep.repair import repair
from components.spec.registry import OciRegistry
from components.trust import rollout
from tests.components.push.places import MODEL, OciFiles, Place, Store, manifest_of, signed_in, store_of
from tests.gateway import ANSWER_LOST, DROPPED, Fault, Gateway
from tests.object_store import free_port
from tests.oci_server import OciServer

SHA256 = hashlib.sha256(MODEL).hexdigest()
VERSION = SHA256[:16]
OTHER = MODEL[::-1]
SKOPEO = shutil.which("skopeo")


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with store_of("oci") as running:
        yield running


@pytest.fixture
def place(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(transport, "_FIRST_PAUSE_SECONDS", 0.01)
    return store.place(tmp_path)


def server_of(store: Store) -> OciServer:
    assert store.oci is not None
    return store.oci


def gateway_of(store: Store) -> Gateway:
    assert store.gateway is not None
    return store.gateway


def repository_of(place: Place) -> Repository:
    host, _, name = place.root.removeprefix("oci://").partition("/")
    return Repository(host, f"{name}/phone/shoes")


def copied(place: Place, store: Store) -> Place:
    """An empty registry next to another one, on the same server."""
    root = f"{place.root}-copy"
    return Place(OciRegistry(kind="oci", root=root), OciFiles(server_of(store), root))


def artifact(place: Place, tag: str = VERSION) -> dict[str, Any]:
    content = repository_of(place).manifest(tag)
    assert content is not None
    found: dict[str, Any] = json.loads(content)
    return found


def test_release_is_one_artifact_of_modelpack(place: Place) -> None:
    release = place.push()
    found = artifact(place)
    assert found["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert found["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert found["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    layers = {one["annotations"]["org.cncf.model.filepath"]: one for one in found["layers"]}
    assert {name: one["mediaType"] for name, one in layers.items()} == {
        "model.tflite": "application/vnd.cncf.model.weight.v1.raw",
        "model.tflite.gz": "application/vnd.cncf.model.weight.v1.raw",
        "manifest.json": "application/vnd.cncf.model.weight.config.v1.raw",
    }
    assert layers["model.tflite"]["digest"] == f"sha256:{SHA256}"
    assert layers["manifest.json"]["digest"] == f"sha256:{release.manifest_sha256}"
    assert found["annotations"] == {
        "org.opencontainers.image.title": "shoes",
        "org.opencontainers.image.version": VERSION,
        "io.edgemill.name": "shoes",
        "io.edgemill.version": VERSION,
        "io.edgemill.device-class": "phone",
        "io.edgemill.device": "phone_cpu",
        "io.edgemill.scheme": "static_wi8_ai8",
    }
    config = json.loads(repository_of(place).blob(found["config"]["digest"]))
    # The required fields of ModelPack's schema, and no others than it has.
    assert config == {
        "descriptor": {"name": "shoes", "title": "shoes", "version": VERSION},
        "config": {"format": "tflite", "quantization": "static_wi8_ai8"},
        "modelfs": {"type": "layers", "diffIds": [one["digest"] for one in found["layers"]]},
    }


def test_release_with_all_its_content_is_one_artifact(place: Place) -> None:
    """Layers by ModelPack: weights, their configuration, documents, and code. Each digest is that of the content."""
    files = {
        "labels.txt": b"shoe\nboot\n",
        "model_card.md": b"# The model",
        "microcontroller/model.h": b"// h",
        "microcontroller/model.cc": b"// cc",
    }
    manifest = manifest_of(MODEL).model_copy(update={"files": described(files), "runtime_floor": "2.11.0"})
    release = place.open().put("phone", "shoes", MODEL, manifest, files)
    place.open().commit(release)
    found = artifact(place)
    assert found["annotations"]["io.edgemill.runtime-floor"] == "2.11.0"
    layers = {one["annotations"]["org.cncf.model.filepath"].rpartition("/")[2]: one for one in found["layers"]}
    kinds = {name: one["mediaType"].removeprefix("application/vnd.cncf.model.") for name, one in layers.items()}
    assert kinds == {
        "model.tflite": "weight.v1.raw",
        "model.tflite.gz": "weight.v1.raw",
        "manifest.json": "weight.config.v1.raw",
        "labels.txt": "doc.v1.raw",
        "model_card.md": "doc.v1.raw",
        "model.h": "code.v1.raw",
        "model.cc": "code.v1.raw",
    }
    for layer in (*found["layers"], found["config"]):
        content = repository_of(place).blob(layer["digest"])
        assert (len(content), f"sha256:{sha256_of_bytes(content)}") == (layer["size"], layer["digest"])
    for name, content in files.items():
        assert layers[name.rpartition("/")[2]]["digest"] == f"sha256:{sha256_of_bytes(content)}"
    assert place.current() == release


def test_channel_and_version_are_tags_of_the_same_artifact(place: Place, store: Store) -> None:
    place.push()
    before = place.files.all()
    assert before["tag phone/shoes:stable"] == before[f"tag phone/shoes:{VERSION}"]
    # In another registry, the same release has the same digest.
    again = store.place(Path())
    again.push()
    assert again.files.all() == before


@pytest.mark.skipif(SKOPEO is None, reason="Debian's package skopeo is not installed")
def test_skopeo_reads_what_was_pushed(place: Place, store: Store, tmp_path: Path) -> None:
    place.push()
    # Not through the gateway, which passes on only one header of a name.
    source = f"docker://{server_of(store).host}/{place.root.partition('//')[2].partition('/')[2]}/phone/shoes"
    copy = ["skopeo", "copy", "--src-tls-verify=false", f"{source}:stable", f"dir:{tmp_path}/copy"]
    done = subprocess.run(copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "copy/manifest.json").read_text()) == artifact(place)
    assert (tmp_path / "copy" / SHA256).read_bytes() == MODEL
    listed = subprocess.run(
        ["skopeo", "list-tags", "--tls-verify=false", source], capture_output=True, text=True, check=True
    )
    (own,) = (tag for tag in json.loads(listed.stdout)["Tags"] if tag not in {VERSION, "stable"})
    assert own.startswith(f"{VERSION}-")


@pytest.mark.skipif(SKOPEO is None, reason="Debian's package skopeo is not installed")
def test_tag_of_a_channel_leads_to_the_decision_that_the_channel_has_signed(
    place: Place, store: Store, tmp_path: Path
) -> None:
    """The tag of a version names its newest decision, which another channel can have signed."""

    def served(of: Place, channel: str) -> str:
        """The digest that other tools pull."""
        source = f"{server_of(store).host}/{of.root.partition('//')[2].partition('/')[2]}/phone/shoes:{channel}"
        inspect = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{source}"]
        return f"sha256:{sha256_of_bytes(subprocess.run(inspect, capture_output=True, check=True).stdout)}"

    def signed_as(channel: str) -> str:
        """The digest that devices get, without a roll-out that isn't complete."""
        release = place.registry().channel("phone", "shoes", channel).complete
        assert release is not None
        subjects = {one["name"].rpartition("/")[2]: one["digest"] for one in release.statement["subject"]}
        return f"sha256:{subjects['oci-manifest.json']['sha256']}"

    address = f"{place.root}/phone/shoes"
    with signed_in(place, tmp_path / "keys"):
        first = place.decide("stable", 0.5)
        place.decide("canary", 0.75)
        newest, of_stable = signed_as("canary"), signed_as("stable")
        assert served(place, VERSION) == newest != of_stable == served(place, "stable")
        other = place.publish(OTHER, "beta")
        signed.promote(f"{address}/{other}", "stable", 500)
        assert served(place, "stable") == of_stable
        signed.promote(f"{address}/{other}", "stable", 10_000)
        assert served(place, "stable") == signed_as("stable") == signed_as("beta")
        signed.change(address, "stable", rollout.rolled_back, "rollback")
        assert served(place, "stable") == signed_as("stable") == of_stable
        # Somebody moves the tag.
        place.kind.point_at(first.path, "stable")
        assert served(place, "stable") == newest
        assert repair(place.root).restored == ("phone/shoes: stable",)
        assert served(place, "stable") == of_stable
        assert repair(place.root).restored == ()
        copy = copied(place, store)
        for _ in range(2):
            done = mirror(place.root, copy.root)
            assert [served(copy, channel) for channel in ("stable", "canary")] == [of_stable, newest]
        assert done.pointed == ()
        copy.kind.point_at(f"{copy.root}/phone/shoes/{VERSION}", "stable")
        assert mirror(place.root, copy.root).pointed == ("phone/shoes: stable",)
        assert served(copy, "stable") == of_stable


def test_address_leads_to_a_release_or_a_file_of_one(place: Place) -> None:
    release = place.push()
    for target in (release.path, f"{release.path}/model.tflite", f"{release.path}/model.tflite.gz"):
        found = place.kind.resolve(target)
        assert (found.address, found.sha256, found.manifest_sha256) == (release.path, SHA256, release.manifest_sha256)
    for target in (f"{place.root}/phone/shoes/{'0' * 16}", f"{place.root}/phone/shoes/stable", f"{place.root}/x"):
        with pytest.raises(MetadataError, match="there is no release or model here"):
            place.kind.resolve(target)


def test_channels_are_listed_with_what_they_point_at(place: Place) -> None:
    first, second = place.push(), place.push(OTHER)
    place.push(channel="beta")
    stable, beta = f"{place.root}/phone/shoes:stable", f"{place.root}/phone/shoes:beta"
    assert dict(place.kind.channels(first.path)) == {
        beta: place.kind.resolve(first.path),
        stable: place.kind.resolve(second.path),
    }
    assert dict(place.kind.channels(f"{place.root}/watch/shoes/{VERSION}")) == {}
    place.files.write(f"phone/shoes/{VERSION}/model.tflite", b"other")
    assert "the release is corrupt" in str(dict(place.kind.channels(first.path))[beta])


def test_no_push_of_the_same_model_makes_another_one_unreachable(place: Place) -> None:
    first, second = place.push(accuracy=0.5), place.push(accuracy=0.25)
    assert first.version == second.version
    own = [tag for tag in repository_of(place).tags() if tag.startswith(f"{VERSION}-")]
    stored = [repository_of(place).manifest(tag) for tag in own]
    digests = {json.loads(content or b"")["layers"][2]["digest"].removeprefix("sha256:") for content in stored}
    assert digests == {first.manifest_sha256, second.manifest_sha256}
    # Without the tag that both wrote, the release is still listed and read.
    for name in [name for name in place.files.all() if name == f"tag phone/shoes:{VERSION}"]:
        place.files.remove_tag(name.removeprefix("tag "))  # type: ignore[attr-defined]
    assert place.versions() == (VERSION,)
    assert place.kind.resolve(first.path).sha256 == SHA256


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_registry_that_cannot_cancel_uploads_is_writable(place: Place, store: Store, status: int) -> None:
    """The distribution specification doesn't ask for it. That of go-containerregistry answers with 400."""
    answer = (status, '{"errors": [{"code": "NAME_INVALID"}]}')
    gateway_of(store).fault = lambda number, line: answer if line.startswith("DELETE") else None
    place.open().check_writable()
    assert place.files.all() == {}


def test_push_needs_no_repository_for_collections(place: Place, store: Store) -> None:
    denied = (403, '{"errors": [{"code": "DENIED"}]}')
    # As some registries answer for a repository that doesn't exist.
    gateway_of(store).fault = lambda number, line: denied if "edgemill-gc" in line else None
    assert place.push() == place.current()


def test_tag_of_anything_else_is_refused_and_replaced(place: Place) -> None:
    place.push()
    image = {**artifact(place), "artifactType": "application/vnd.oci.image"}
    assert repository_of(place).tag("stable", json.dumps(image).encode(), None)
    with pytest.raises(RegistryError, match=r"shoes:stable: this is not a release .*artifactType"):
        place.current()
    assert place.push() == place.current()


def test_damaged_manifest_of_a_release_is_refused(place: Place) -> None:
    place.push()
    name = f"phone/shoes/{VERSION}/manifest.json"
    place.files.write(name, place.files.all()[name].replace(b"0.875", b"0.999"))
    with pytest.raises(RegistryError, match="the release is corrupt: its manifest is not the one that was pushed"):
        place.current()


def test_channel_must_not_serve_the_release_of_another_device(place: Place) -> None:
    release = place.push()
    server, watch = place.root.removeprefix("oci://").partition("/")[::2]
    stranger, own = Repository(server, f"{watch}/watch/shoes"), repository_of(place)
    for one in [*artifact(place)["layers"], artifact(place)["config"]]:
        stranger.upload(own.blob(one["digest"]))
    content = own.manifest(VERSION)
    assert content is not None
    for tag in ("stable", VERSION):
        assert stranger.tag(tag, content, None)
    ((_, found),) = place.kind.channels(release.path.replace("/phone/", "/watch/"))
    assert "this release is in the wrong location in the registry" in str(found)
    with pytest.raises(RegistryError, match="this release is in the wrong location"):
        place.kind.point_at(release.path.replace("/phone/", "/watch/"), "stable")


def test_push_in_the_middle_of_a_rollback_keeps_its_release(place: Place, store: Store) -> None:
    first, _ = place.push(OTHER), place.push()
    between: list[str] = []

    def push_before_write(number: int, line: str) -> Fault:
        if not between and line.startswith("PUT"):
            between.append("")
            between[0] = place.push(b"a third model").version
        return None

    gateway_of(store).fault = push_before_write
    place.kind.point_at(first.path, "stable")
    gateway_of(store).reset()
    # The rollback came last. It can't see the push, whose release stays under its version.
    assert place.current() == first
    assert between[0] in place.versions()


def test_channel_that_another_push_sets_back_at_once_is_written_again(place: Place, store: Store) -> None:
    old, gateway, times = place.push(OTHER), gateway_of(store), list[bool]()

    def push_old_after_write(number: int, line: str) -> None:
        if not times and line.startswith("PUT") and line.endswith("/manifests/stable"):
            times.append(True)
            place.open().commit(old)

    gateway.after = push_old_after_write
    release = place.push()
    assert times
    gateway.reset()
    assert place.current() == release


def test_registry_that_keeps_the_old_tag_is_reported(place: Place, store: Store) -> None:
    old, gateway = place.push(OTHER), gateway_of(store)
    gateway.fault = lambda number, line: (201, "") if line.startswith("PUT") and "stable" in line else None
    with pytest.raises(
        RegistryError, match=r"accepted a tag, but the tag still points to the previous artifact.*cache"
    ):
        place.push()
    gateway.reset()
    assert place.current() == old


def test_lost_answer_of_a_commit_does_not_undo_the_next_push(place: Place, store: Store) -> None:
    place.push(OTHER)
    later: list[Any] = []

    def push_after(number: int, line: str) -> None:
        if not later and line.startswith("PUT") and line.endswith("stable"):
            later.append(None)
            later[0] = place.push(b"a later model")

    def lose_first(number: int, line: str) -> Fault:
        return ANSWER_LOST if not later and line.startswith("PUT") and line.endswith("stable") else None

    gateway_of(store).fault = lose_first
    gateway_of(store).after = push_after
    release = place.push()
    gateway_of(store).reset()
    assert place.current() == later[0]
    assert {release.version, later[0].version} <= set(place.versions())


@pytest.mark.parametrize("fault", [DROPPED, ANSWER_LOST, (503, "")], ids=["dropped", "answer lost", "503"])
def test_broken_upload_continues_where_it_broke_off(
    place: Place, store: Store, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(repository, "CHUNK_BYTES", 1000)
    content = bytes(range(251)) * 18  # 4518 bytes: 4 chunks and the rest
    patches: list[int] = []

    def second_breaks(number: int, line: str) -> Fault:
        if line.startswith("PATCH"):
            patches.append(number)
            return fault if len(patches) == 2 else None
        return None

    gateway_of(store).fault = second_breaks
    digest = repository_of(place).upload(content)
    # Docker's registry says how much it has only to those who know the state of the upload, which was in the answer.
    assert len(patches) == (2 + 4 if fault == ANSWER_LOST else 1 + 4)
    assert repository_of(place).blob(digest) == content


def test_registry_that_starts_again_gets_the_rest_of_the_push(place: Place, store: Store) -> None:
    server = server_of(store)

    def restart(number: int, line: str) -> None:
        if number == 5:
            server.stop()
            server.start()

    gateway_of(store).after = restart
    assert place.push() == place.current()


@pytest.mark.parametrize("name", ["a___b", "end_", "a-_b"])
def test_name_that_oci_refuses_is_explained(place: Place, name: str) -> None:
    with pytest.raises(SpecError, match=r"cannot be part of a repository's name .*Remedy: rename it"):
        place.push(name=name)
    deep = OciRegistry(kind="oci", root=f"{place.root}/{'b' * 120}")
    with pytest.raises(SpecError, match="too long for an OCI registry"):
        open_registry(deep).put("phone", "a" * 128, MODEL, manifest_of(MODEL))
    assert place.files.all() == {}


@pytest.mark.parametrize(
    "field",
    [
        {"root": "oci://host"},
        {"root": "oci://user:secret@host/mill"},
        {"root": "oci://host/Upper"},
        {"root": "oci://host/a:tag"},
        {"channel": "abcdefabcdefabcd"},
        {"channel": "abcdefabcdefabcd-0123456789abcdef"},
    ],
)
def test_wrong_fields_are_refused(field: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        OciRegistry.model_validate({"kind": "oci", "root": "oci://host/mill", **field})


def test_registry_that_is_away_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_FIRST_PAUSE_SECONDS", 0.01)
    spec = OciRegistry(kind="oci", root=f"oci://127.0.0.1:{free_port()}/mill")
    with pytest.raises(RegistryError, match=r"the registry cannot be reached .found: ConnectionError from http://127"):
        open_registry(spec).check_writable()


def test_only_this_machine_and_named_hosts_are_asked_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert transport.base_url("localhost:5000") == "http://localhost:5000"
    assert transport.base_url("[::1]:5000") == "http://[::1]:5000"
    assert transport.base_url("127.0.0.1.example.com") == "https://127.0.0.1.example.com"
    assert transport.base_url("registry.lan:5000") == "https://registry.lan:5000"
    monkeypatch.setenv("EDGEMILL_OCI_HTTP_HOSTS", "other, registry.lan:5000")
    assert transport.base_url("registry.lan:5000") == "http://registry.lan:5000"
