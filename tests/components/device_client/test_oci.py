"""Devices that pull from a signed OCI registry."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from components.device_client.errors import AlarmError, UnreachableError
from components.device_client.fetcher import ResumingFetcher
from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from components.device_client.settings import Settings
from components.push import signed
from components.spec.registry import OciRegistry
from components.trust import oci_store, rollout
from components.trust.keys import VARIABLE
from components.trust.oci_store import OciStore
from components.trust.setup import create
from tests.components.device_client.fleet import NEW, OLD, model_of
from tests.components.push.places import QUICK_LOCK, Place, Store, signed_in, store_of
from tests.components.push.test_oci_credentials import HASH, PASSWORD, USER
from tests.gateway import DROPPED, Fault
from tests.oci_server import PROGRAM, oci_server

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Debian's package docker-registry is not installed")


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with store_of("oci") as running:
        yield running


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Iterator[Place]:
    place = store.place(tmp_path)
    with signed_in(place, tmp_path / "keys"):
        yield place


@pytest.fixture
def device(place: Place, tmp_path: Path) -> DeviceFolder:
    folder = DeviceFolder(tmp_path / "device")
    folder.create(Settings(place.root, "phone", "shoes", "stable", "1", gateway=True), root_of(tmp_path))
    return folder


def root_of(folder: Path) -> bytes:
    return (folder / "keys/root.json").read_bytes()


def test_device_follows_a_signed_oci_registry(place: Place, store: Store, device: DeviceFolder) -> None:
    assert store.gateway is not None
    old, new = place.publish(OLD), place.publish(NEW, "canary")
    assert pull(device).version == old
    store.gateway.requests.clear()
    assert pull(device).version == old
    assert len(store.gateway.requests) <= 3
    signed.promote(f"{place.root}/phone/shoes/{new}", "stable", rollout.FULL_SHARE)
    assert pull(device).version == new
    assert model_of(device) == NEW
    assert (device.path / "current/role.bin").read_bytes().startswith(b"EMR1")
    signed.change(f"{place.root}/phone/shoes", "stable", rollout.rolled_back, "rollback")
    pull(device)
    assert model_of(device) == OLD


def test_download_continues_and_errors_keep_the_model(place: Place, store: Store, device: DeviceFolder) -> None:
    assert store.gateway is not None
    place.publish(OLD)
    pull(device)
    new = place.publish(NEW)
    for fault in (DROPPED, (503, "")):

        def fail(number: int, line: str, fault: Fault = fault) -> Fault:
            return fault if "phone/shoes/blobs" in line else None

        store.gateway.fault = fail
        with pytest.raises(UnreachableError, match="the device keeps its model"):
            pull(device)
        assert model_of(device) == OLD
    store.gateway.reset()
    # What an earlier attempt left is continued.
    url = f"{place.root}/phone/shoes/blobs/sha256:"
    state = signed_state(place)
    name = f"{url}{state.stages[0].release.file_sha256}"
    content = next(one for path, one in place.files.all().items() if path.endswith(f"{new}/model.tflite.gz"))
    part = ResumingFetcher(device.downloads, place.root, "phone").part(name)
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(content[:100])
    pull(device)
    assert model_of(device) == NEW


def signed_state(place: Place) -> rollout.ChannelState:
    registry = signed.open_signed(place.root)
    assert registry is not None
    return registry.channel("phone", "shoes", "stable")


@pytest.mark.parametrize("what", ["timestamp.json", "model", "replay"])
def test_changed_registry_raises_an_alarm(place: Place, store: Store, device: DeviceFolder, what: str) -> None:
    assert store.oci is not None
    place.publish(OLD)
    pull(device)
    prefix = place.root.partition("://")[2].partition("/")[2]
    timestamp = store.oci.layer(prefix, "edgemill-tuf/timestamp.json/timestamp.json").read_bytes()
    new = place.publish(NEW)
    match what:
        case "model":
            path = store.oci.layer(prefix, f"phone/shoes/{new}/model.tflite.gz")
            content = path.read_bytes()
            path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
        case "replay":
            pull(device)
            store.oci.layer(prefix, "edgemill-tuf/timestamp.json/timestamp.json").write_bytes(timestamp)
        case _:
            path = store.oci.layer(prefix, "edgemill-tuf/timestamp.json/timestamp.json")
            path.write_bytes(path.read_bytes().replace(b'"version":', b'"version":1'))
    with pytest.raises(AlarmError, match="can't be trusted"):
        pull(device)
    assert model_of(device) == (NEW if what == "replay" else OLD)


@pytest.mark.parametrize(
    "answer",
    [
        "{}",
        "no JSON",
        "[" * 90_000,
        '{"layers": [{"digest": "sha256:0"}]}',
        '{"layers": [{"digest": "sha512:' + "0" * 128 + '"}]}',
        '{"layers": [{"digest": "sha256:' + "0" * 64 + '/../../x"}]}',
        '{"layers": [{"digest": "SHA256:' + "0" * 64 + '"}]}',
        " " * 200_000,
    ],
)
def test_manifest_of_something_else_keeps_the_model(
    place: Place, store: Store, device: DeviceFolder, answer: str
) -> None:
    assert store.gateway is not None
    place.publish(OLD)
    pull(device)
    store.gateway.fault = lambda number, line: (200, answer) if "manifests/timestamp.json" in line else None
    with pytest.raises(AlarmError, match=r"can't be trusted.*the device keeps its model"):
        pull(device)
    store.gateway.reset()
    assert model_of(device) == OLD


def test_device_signs_in_with_the_credentials_of_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(f"{USER}:{HASH}\n")
    extra = f"auth: {{htpasswd: {{realm: tests, path: {tmp_path}/htpasswd}}}}\n"
    (tmp_path / "server").mkdir()
    login = tmp_path / "config.json"
    with (
        oci_server(tmp_path / "server", extra) as server,
        mock.patch.dict(os.environ, {"DOCKER_CONFIG": str(tmp_path), VARIABLE: str(tmp_path / "keys")}),
        mock.patch.multiple(oci_store, **QUICK_LOCK),
    ):
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        login.write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))
        root = f"oci://{server.host}/some/registry"
        create(root, OciStore(root), tmp_path / "keys")
        Place(OciRegistry(kind="oci", root=root), None).publish(OLD)  # type: ignore[arg-type]
        folder = DeviceFolder(tmp_path / "device")
        folder.create(Settings(root, "phone", "shoes", "stable", "1"), root_of(tmp_path))
        pull(folder)
        assert model_of(folder) == OLD
        login.write_text("{}")
        with pytest.raises(UnreachableError, match="status 401"):
            pull(folder)
