"""Registries that earlier versions of Edgemill wrote: today's code lists, verifies, serves, continues, and signs them.

The folders in `earlier` were written by those versions: 0.1.0 when it had no compressed forms, and 0.2.0. In each, two
models were pushed to the stable channel, and then one to the canary channel.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from components.device_client.settings import Settings
from components.push import signed
from components.push.upkeep.check import verify
from components.push.upkeep.convert import sign
from components.push.upkeep.mirror import mirror
from components.spec.registry import LocalRegistry
from components.trust.keys import VARIABLE
from edgemill.main import app
from tests.components.device_client.fleet import Server, model_of
from tests.components.push.places import MODEL, FolderFiles, Place

EARLIER = Path(__file__).parent / "earlier"
FIRST = bytes(range(256)) * 2
SECOND, CANARY = FIRST[::-1], FIRST + b"3"
OLD, STABLE, NEWER = "110009dcee21620b", "410f8672586b1c7d", "36ed1df3d4921154"


@pytest.fixture(params=sorted(one.name for one in EARLIER.iterdir()))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    root = tmp_path / "registry"
    shutil.copytree(EARLIER / request.param, root)
    return Place(LocalRegistry(root=str(root)), FolderFiles(root))


def health(place: Place) -> tuple[int, int, tuple[object, ...]]:
    found = verify(place.root)
    return found.releases, found.channels, found.problems


def test_registry_of_an_earlier_version_is_listed_verified_and_copied(place: Place, tmp_path: Path) -> None:
    assert place.versions() == tuple(sorted((OLD, STABLE, NEWER)))
    stable, canary = place.current("stable"), place.current("canary")
    assert stable is not None and canary is not None
    assert (stable.version, stable.model_path.read_bytes()) == (STABLE, SECOND)
    assert (canary.version, canary.model_path.read_bytes()) == (NEWER, CANARY)
    assert stable.manifest.metrics["accuracy"].value == 0.9
    assert health(place) == (3, 2, ())
    done = CliRunner().invoke(app, ["registry", "status", place.root])
    assert (done.exit_code, STABLE in done.output, NEWER in done.output) == (0, True, True), done.output
    before = place.files.all()
    copy = tmp_path / "mirror"
    mirrored = mirror(place.root, str(copy))
    assert (len(mirrored.copied), mirrored.problems) == (3, ())
    assert before.items() <= FolderFiles(copy).all().items()


def test_registry_of_an_earlier_version_is_pushed_to_and_rolled_back(place: Place) -> None:
    before = place.files.all()
    version = place.publish(MODEL)
    found = place.current()
    assert found is not None and found.version == version
    assert health(place) == (4, 2, ())
    after = place.files.all()
    assert {name for name, content in before.items() if after[name] != content} == {"phone/shoes/stable.json"}
    assert place.kind.point_at(f"{place.root}/phone/shoes/{OLD}", "stable")[0] == version
    # The same model as an earlier version has released, from today's code.
    assert place.publish(FIRST, "beta") == OLD
    assert health(place) == (4, 3, ())


def test_registry_of_an_earlier_version_is_signed_and_serves_devices(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    before = place.files.all()
    done = sign(place.root, keys := tmp_path / "keys")
    assert (done.releases, done.archived, len(done.channels)) == (3, 1, 2)
    assert before.items() <= place.files.all().items()
    monkeypatch.setenv(VARIABLE, str(keys))
    assert health(place) == (3, 2, ())
    server = Server(Path(place.root))
    device = DeviceFolder(tmp_path / "device")
    device.create(Settings(server.url, "phone", "shoes", "stable", "device-1"), (keys / "root.json").read_bytes())
    pull(device)
    assert model_of(device) == SECOND
    signed.promote(f"{signed.normal(place.root)}/phone/shoes/{OLD}", "stable", 10_000)
    pull(device)
    assert model_of(device) == FIRST
    place.publish(MODEL)
    pull(device)
    assert model_of(device) == MODEL
    assert health(place) == (4, 2, ())
    server.close()
