"""What attackers with keys can do to a registry, and what devices and honest pushes make of it.

In each test, the device runs OLD, and must keep it or move to what an honest push signed. `test_attacks_everywhere` has
attacks without keys.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata

from components.core.compression import gzip_of
from components.core.errors import RegistryError
from components.device_client.errors import AlarmError, DeviceError
from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from components.device_client.trusted import Source
from components.push import signed
from components.trust import rollout
from components.trust.setup import rotate
from tests.components.device_client.fleet import NEW, OLD, OTHER, Attacker, Fleet, fleet_in, model_of

ROLES = ("timestamp", "snapshot", "targets", "phone.stable")
TOP_LEVEL = ("root", "targets", "snapshot", "timestamp")


@pytest.fixture
def device(fleet: Fleet) -> DeviceFolder:
    fleet.push(OLD)
    device = fleet.device()
    pull(device)
    return device


def served(fleet: Fleet, what: str, version: str) -> Path:
    return fleet.root / f"phone/shoes/{version}/model.tflite.gz" if what == "model" else fleet.file(what)


def assert_refused(device: DeviceFolder, match: str | None = None, error: type[DeviceError] = AlarmError) -> None:
    with pytest.raises(error, match=match):
        pull(device)
    assert model_of(device) == OLD


def assert_works_again(device: DeviceFolder, model: bytes = NEW) -> None:
    pull(device)
    assert model_of(device) == model


def forge(fleet: Fleet, role: str, key_of: str) -> None:
    """Sign NEW for the phones' stable channel, with every online key, but one role with the key of another."""
    version = fleet.push(NEW, "canary")
    honest = fleet.registry()
    attacker = Attacker(honest.where, honest.store, honest.keys)
    found = honest.read()
    by = found.root.signed if key_of in TOP_LEVEL else found.targets.signed
    (attacker.signer,), attacker.role = honest.signers_of(by, key_of), role
    state = honest.channel("phone", "shoes", "canary")
    attacker.change_channel(
        "phone", "shoes", "stable", lambda old: rollout.released(old, state.stages[0].release), lambda ref: b"pointer"
    )
    assert version == state.stages[0].release.version


@pytest.mark.parametrize("key_of", ["watch.stable", "phone.canary", "targets", "timestamp"])
def test_role_signed_with_the_key_of_another_is_refused(fleet: Fleet, device: DeviceFolder, key_of: str) -> None:
    fleet.push(OTHER, device_class="watch")
    forge(fleet, "phone.stable", key_of)
    assert_refused(device, r"phone\.stable was signed by 0/1 keys")


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
def test_top_level_role_signed_with_the_key_of_another_is_refused(
    fleet: Fleet, device: DeviceFolder, role: str
) -> None:
    forge(fleet, role, "phone.stable")
    assert_refused(device, f"{role} was signed by 0/1 keys")
    # Nor does an honest push build on it.
    with pytest.raises(RegistryError, match="signed metadata of the registry is refused"):
        fleet.push(OTHER)


@pytest.mark.parametrize("role", [*TOP_LEVEL, "phone.stable"])
def test_devices_follow_a_rotation_and_refuse_the_old_key(fleet: Fleet, device: DeviceFolder, role: str) -> None:
    honest = fleet.registry()
    found = honest.read()
    old = honest.signers_of(found.root.signed if role in TOP_LEVEL else found.targets.signed, role)[0]
    assert rotate(fleet.registry(), role) == old.public_key.keyid
    fleet.push(OTHER)
    assert_works_again(device, OTHER)
    fleet.push(OLD)
    pull(device)
    pull(fleet.device())  # A device that trusts the first root, too.
    if role == "root":
        return
    honest = fleet.registry()
    attacker = Attacker(honest.where, honest.store, honest.keys)
    attacker.role, attacker.signer = role, old
    version = fleet.push(NEW, "canary")
    ref = honest.channel("phone", "shoes", "canary").stages[0].release
    assert ref.version == version
    if role == "targets":
        attacker.commit(lambda set_: {"targets": set_.targets})
    else:
        attacker.change_channel("phone", "shoes", "stable", lambda _: rollout.released(_, ref), lambda _: b"pointer")
    assert_refused(device, "was signed by 0/1 keys")


def test_new_root_needs_two_old_keys(fleet: Fleet, device: DeviceFolder) -> None:
    (fleet.keys / "root-2.pem").unlink()
    (fleet.keys / "root-3.pem").unlink()
    keys = json.loads((fleet.keys / "keys.json").read_bytes())
    kept = {key: place for key, place in keys["keys"].items() if place not in {"file:root-2.pem", "file:root-3.pem"}}
    (fleet.keys / "keys.json").write_text(json.dumps({**keys, "keys": kept}))
    with pytest.raises(RegistryError, match=r"not enough keys to sign as root \(expected: 2 of .*; found: 1\)"):
        rotate(fleet.registry(), "timestamp")
    # A thief of one key writes its own root.
    root = Metadata.from_bytes((fleet.root / "_tuf/1.root.json").read_bytes())
    root.signed.version = 2
    root.signatures.clear()
    for signer in [one for key in root.signed.keys.values() if (one := fleet.registry().keys.signer(key))]:
        root.sign(signer, append=True)
    root.to_file(str(fleet.root / "_tuf/2.root.json"))
    assert_refused(device, "root was signed by 1/2 keys")
    with pytest.raises(RegistryError, match="root was signed by 1/2 keys"):
        fleet.push(NEW)


def test_thief_of_the_timestamp_key_cannot_roll_back(fleet: Fleet, device: DeviceFolder) -> None:
    before = fleet.registry().read().timestamp.signed.snapshot_meta
    fleet.push(NEW)
    pull(device)
    honest = fleet.registry()
    found = honest.read()
    found.timestamp.signed.snapshot_meta = before
    found.timestamp.signed.version += 1
    found.timestamp.signatures.clear()
    found.timestamp.sign(honest.signers_of(found.root.signed, "timestamp")[0])
    found.timestamp.to_file(str(fleet.root / "_tuf/timestamp.json"))
    with pytest.raises(AlarmError, match="New snapshot version must be >= 3, got version 2"):
        pull(device)
    assert model_of(device) == NEW


def test_planted_role_files_are_never_signed(fleet: Fleet, device: DeviceFolder) -> None:
    forged = Metadata.from_bytes(fleet.file("phone.stable").read_bytes())
    for name in ("phone.stable", "snapshot", "targets"):
        number = int(fleet.file(name).name.split(".")[0])
        for ahead in (1, 2):
            forged.to_file(str(fleet.root / f"_tuf/{number + ahead}.{name}.json"))
    fleet.push(OTHER, device_class="watch")
    fleet.push(NEW)
    assert_works_again(device)
    assert len(fleet.registry().channels()) == 2


def test_planted_root_and_removed_metadata_stop_an_honest_push(fleet: Fleet, tmp_path: Path) -> None:
    with fleet_in(tmp_path / "other") as other:
        other.push(OLD)
        stranger = other.copy("copy")
    shutil.rmtree(fleet.root)
    shutil.copytree(stranger, fleet.root)
    with pytest.raises(RegistryError, match="isn't the one that these keys sign"):
        fleet.push(NEW)
    shutil.rmtree(fleet.root / "_tuf")
    with pytest.raises(RegistryError, match="was signed, and its signed metadata is missing"):
        fleet.push(NEW)


def test_poisoned_download_is_dropped_and_fetched_again_at_once(fleet: Fleet, device: DeviceFolder) -> None:
    fleet.push(NEW)
    source = Source(device, device.settings())
    release = source.state().stages[0].release
    part = source._fetcher.part(f"{fleet.server.url}/phone/shoes/{release.version}/{release.file}")
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(b"poison")
    (content := served(fleet, "model", release.version)).write_bytes(b"poison, too")
    assert_refused(device, "can't be trusted")
    content.write_bytes(gzip_of(NEW))
    part.write_bytes(b"poison")
    assert_works_again(device)


def test_signed_release_with_dangerous_names_or_other_content_is_refused(fleet: Fleet, device: DeviceFolder) -> None:
    fleet.push(NEW, "canary")
    honest = fleet.registry()
    ref = honest.channel("phone", "shoes", "canary").stages[0].release
    for change in ({"version": "../../etc"}, {"file": "../../../keys/root.json"}, {"sha256": "0" * 64}, {"bytes": 3}):
        bad = rollout.ReleaseRef(**{**vars(ref), **change})
        honest.change_channel(
            "phone", "shoes", "stable", lambda old, bad=bad: rollout.released(old, bad), lambda _: b""
        )
        assert_refused(device, "the release is signed, but")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda old: {}, "is not an in-toto statement about a release"),
        (lambda old: {**old, "_type": "https://example.com"}, "has the type 'https://example.com'"),
        (lambda old: {**old, "subject": old["subject"][1:]}, "is about another model.tflite"),
        (lambda old: {**old, "subject": old["subject"][:2]}, r"is about another model\.tflite\.gz"),
        (
            lambda old: {**old, "predicate": {**old["predicate"], "device_class": "watch"}},
            "is about the device class 'watch'",
        ),
        (lambda old: {**old, "predicate": {**old["predicate"], "name": "boots"}}, "is about the name 'boots'"),
        (lambda old: {**old, "predicate": None}, "is not an in-toto statement about a release"),
    ],
)
def test_signed_statement_about_something_else_is_refused(
    fleet: Fleet, device: DeviceFolder, change: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    fleet.push(NEW, "canary")
    honest = fleet.registry()
    ref = honest.channel("phone", "shoes", "canary").stages[0].release
    bad = replace(ref, statement=change(dict(ref.statement)))
    honest.change_channel("phone", "shoes", "stable", lambda old: rollout.released(old, bad), lambda _: b"")
    assert_refused(device, f"the release is signed, but its statement .*{said}")


def test_key_files_that_others_can_read_are_refused(fleet: Fleet, device: DeviceFolder) -> None:
    key = fleet.keys / "phone.stable.pem"
    key.chmod(0o640)
    with pytest.raises(Exception, match=r"open to other users .*expected: permissions 600; found: 640"):
        fleet.push(NEW)
    key.chmod(0o600)
    fleet.push(NEW)
    assert_works_again(device)
    assert signed.open_signed(str(fleet.root)) is not None
