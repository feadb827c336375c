"""Registries that are signed after pushes without keys: every kind, earlier layouts, damage, and kills."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from components.core.errors import RegistryError, SpecError
from components.core.files import sha256_of_bytes
from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from components.device_client.settings import Settings
from components.push import signed
from components.push.release_files import compressed_form
from components.push.several import publish
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.push.upkeep.convert import sign
from components.push.upkeep.mirror import mirror
from components.push.upkeep.retention import Retention
from components.trust import oci_store
from components.trust.keys import VARIABLE
from components.trust.rollout import FULL_SHARE, ChannelState
from tests.components.device_client.fleet import Server
from tests.components.push.places import FILE_KINDS, KINDS, MODEL, Place, Store, manifest_of, store_of
from tests.components.push.pusher import QUICK
from tests.forked import killed_at

FIRST, SECOND, THIRD = MODEL + b"1", MODEL + b"2", MODEL + b"3"
CHANGED = {"recipe", "checks", "artifact", "compressed", "files", "inputs", "outputs", "runtime_floor"}


@pytest.fixture(scope="module")
def stores() -> Iterator[dict[str, Store]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(oci_store, **QUICK))
        yield {kind: stack.enter_context(store_of(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Place:
    return stores[request.param].place(tmp_path / "registry")


@pytest.fixture(params=FILE_KINDS[:2])
def file_place(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Place:
    return stores[request.param].place(tmp_path / "registry")


@pytest.fixture
def local(stores: dict[str, Store], tmp_path: Path) -> Place:
    return stores["local"].place(tmp_path / "registry")


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for the keys. It doesn't exist yet."""
    folder = tmp_path / "keys"
    monkeypatch.delenv(VARIABLE, raising=False)
    return folder


def version_of(model: bytes) -> str:
    return sha256_of_bytes(model)[:16]


def push(place: Place, model: bytes, channel: str = "stable") -> bool:
    """Push as a run does, which writes the audit log; returns whether it was signed."""
    spec = place.spec.model_copy(update={"channel": channel})
    return publish([spec], "phone", "shoes", model, manifest_of(model))[1]


def releases(place: Place) -> dict[str, bytes]:
    """The files of releases, and the pointers of channels."""
    own = ("_", "tag edgemill-")
    return {name: content for name, content in place.files.all().items() if not name.startswith(own)}


def states(place: Place) -> dict[str, ChannelState]:
    registry = signed.open_signed(place.root)
    assert registry is not None
    return {state.channel: state for state in registry.channels()}


def test_every_release_and_channel_is_carried_over_and_nothing_of_them_changes(
    place: Place, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(place, FIRST), push(place, SECOND), push(place, THIRD, "canary")
    place.open().put("phone", "shoes", MODEL, manifest_of(MODEL))  # in no channel, and in no entry of the log
    before = releases(place)
    done = sign(place.root, keys)
    assert (done.releases, done.archived) == (4, 1)
    assert done.channels == ("phone/shoes/canary", "phone/shoes/stable")
    assert releases(place) == before
    monkeypatch.setenv(VARIABLE, str(keys))
    found = states(place)
    assert list(found) == ["canary", "stable", "archive"]
    assert {name: state.complete and state.complete.version for name, state in found.items()} == {
        "canary": version_of(THIRD), "stable": version_of(SECOND), "archive": None}  # fmt: skip
    assert [ref.version for ref in found["stable"].history] == [version_of(FIRST)]
    assert [ref.version for ref in found["archive"].history] == [version_of(MODEL)]
    health = verify(place.root)
    assert (health.signed, health.anchored, health.releases, health.problems) == (True, True, 4, ())
    # The channel can return to what it named before, take what it never named, and get what is pushed.
    address = f"{signed.normal(place.root)}/phone/shoes"
    signed.change(address, "stable", signed.rollout.rolled_back, "rollback")
    assert place.current() is not None and place.current().version == version_of(FIRST)  # type: ignore[union-attr]
    signed.promote(f"{address}/{version_of(MODEL)}", "stable", FULL_SHARE)
    assert place.current().version == version_of(MODEL)  # type: ignore[union-attr]
    assert push(place, MODEL + b"4")
    assert not verify(place.root).problems


def test_statement_says_what_it_lacks_until_a_run_pushes_the_model_again(
    local: Place, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    materials = {"decision": "ab" * 32, "evaluation": "cd" * 32}
    manifest = manifest_of(MODEL).model_copy(update={"parents": materials})
    publish([local.spec], "phone", "shoes", MODEL, manifest)
    done = sign(local.root, keys)
    monkeypatch.setenv(VARIABLE, str(keys))
    predicate = states(local)["stable"].stages[0].release.statement["predicate"]
    assert predicate["lacks"] == ["lineage", "candidate", "examples"] and "lineage" not in predicate
    assert {one["name"]: one["digest"]["sha256"] for one in predicate["materials"]} == materials
    assert done.lacks == {"lineage": 1, "candidate": 1, "examples": 1}
    publish([local.spec], "phone", "shoes", MODEL, manifest, lineage={"run": "7"})
    predicate = states(local)["stable"].stages[0].release.statement["predicate"]
    assert predicate["lineage"] == {"run": "7"} and "lacks" not in predicate


def test_device_pulls_what_its_channel_named_before(local: Place, keys: Path, tmp_path: Path) -> None:
    push(local, FIRST), push(local, SECOND)
    sign(local.root, keys)
    server, device = Server(Path(local.root)), DeviceFolder(tmp_path / "device")
    try:
        device.create(Settings(server.url, "phone", "shoes", "stable", "device-1"), (keys / "root.json").read_bytes())
        pull(device)
    finally:
        server.close()
    assert (tmp_path / "device/current/model.tflite").read_bytes() == SECOND


def test_registry_without_releases_is_signed_as_before(place: Place, keys: Path) -> None:
    done = sign(place.root, keys, places=("phone/shoes",))
    assert (done.releases, done.channels, done.archived, done.lacks) == (0, (), 0, {})
    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
        assert push(place, MODEL)
        assert list(states(place)) == ["stable"]


def test_place_without_releases_can_be_named_beside_one_with_some(local: Place, keys: Path) -> None:
    push(local, MODEL)
    assert sign(local.root, keys, places=("phone/shoes", "phone/boots")).releases == 1


def as_it_was(manifest: dict[str, Any], layout: str) -> dict[str, Any]:
    """A manifest in the form of an earlier version."""
    early = {name: value for name, value in manifest.items() if name not in CHANGED}
    recipe = {"name": "int8", "scheme": {"kind": "static_wi8_ai8", "granularity": "per_channel", "float_io": False}}
    if layout == "named ranges":  # Fields of recipes were renamed since.
        recipe["scheme"] |= {"ranges": {"kind": "min_max"}, "keep_float": None}  # type: ignore[operator]
    check = {"what": "accuracy", "where": "all examples", "bound": "at least 0.85", "measured": "0.8750",
             "verdict": "pass"}  # fmt: skip
    return {**early, "recipe": recipe, "checks": [check]}


@pytest.mark.parametrize("layout", ["first", "compressed", "named ranges"])
def test_registry_that_an_earlier_version_wrote_is_converted_as_it_is(
    file_place: Place, keys: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in (FIRST, SECOND):
        base, made = f"phone/shoes/{version_of(model)}", manifest_of(model).model_dump(mode="json")
        content, form = compressed_form(model)
        manifest = as_it_was(made, layout)
        file_place.files.write(f"{base}/model.tflite", model)
        if layout != "first":
            file_place.files.write(f"{base}/model.tflite.gz", content)
            manifest["compressed"] = form.model_dump()
        file_place.files.write(f"{base}/manifest.json", json.dumps(manifest, indent=2).encode() + b"\n")
    pointer = {"version": version_of(SECOND), "sha256": hashlib.sha256(SECOND).hexdigest(), "bytes": len(SECOND)}
    file_place.files.write("phone/shoes/stable.json", json.dumps(pointer).encode())
    before = releases(file_place)
    assert (done := sign(file_place.root, keys)).releases == 2
    assert done.lacks == dict.fromkeys(("lineage", "candidate", "decision", "evaluation", "examples"), 2)
    assert releases(file_place) == before
    monkeypatch.setenv(VARIABLE, str(keys))
    found = states(file_place)
    assert (found["stable"].complete or found["archive"].history[0]).version == version_of(SECOND)
    assert [ref.version for ref in found["archive"].history] == [version_of(FIRST)]
    assert not verify(file_place.root).problems
    assert push(file_place, FIRST)
    assert not verify(file_place.root).problems


@pytest.mark.parametrize("damage", ["model", "manifest", "pointer", "channel"])
def test_damaged_registry_is_refused_before_a_key_is_made(file_place: Place, keys: Path, damage: str) -> None:
    push(file_place, FIRST), push(file_place, SECOND)
    base = f"phone/shoes/{version_of(FIRST)}"
    match damage:
        case "model":
            file_place.files.write(f"{base}/model.tflite", FIRST[:-1] + b"0")
        case "manifest":
            file_place.files.write(f"{base}/manifest.json", b"{}")
        case "pointer":
            file_place.files.write("phone/shoes/stable.json", b"{}")
        case "channel":
            file_place.files.write("phone/shoes/nightly.json", file_place.files.all()["phone/shoes/stable.json"])
    before = file_place.files.all()
    with pytest.raises(RegistryError, match="this registry can't be signed as it is") as refusal:
        sign(file_place.root, keys)
    assert "1 problem" in str(refusal.value) and "edgemill registry repair" in str(refusal.value)
    assert ("nightly" if damage == "channel" else "phone/shoes") in str(refusal.value)
    assert file_place.files.all() == before
    assert not keys.exists()


def test_signed_registry_and_other_keys_are_refused(local: Place, keys: Path, tmp_path: Path) -> None:
    push(local, MODEL)
    other = tmp_path / "other"
    other.mkdir()
    (other / "phone.archive.pem").write_text("from elsewhere")
    with pytest.raises(SpecError, match="the folder for the keys is not empty"):
        sign(local.root, other)
    sign(local.root, keys)
    with pytest.raises(RegistryError, match="this registry is already signed"):
        sign(local.root, tmp_path / "more")
    assert not (tmp_path / "more").exists()
    with pytest.raises(RegistryError, match="there is no key set for it here"):
        push(local, SECOND)


def test_signing_that_was_not_finished_is_no_mix_and_says_how_to_finish_it(
    local: Place, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(local, MODEL)
    sign(local.root, keys)
    first = Path(local.root, "_tuf/1.root.json")
    content = first.read_bytes()
    first.unlink()  # what a kill before the last step leaves
    assert push(local, SECOND) is False
    assert verify(local.root).problems == ()
    monkeypatch.setenv(VARIABLE, str(keys))
    for refused in (lambda: push(local, SECOND), lambda: mirror(local.root, f"{local.root}-copy")):
        with pytest.raises(RegistryError, match=r"was not finished.*edgemill registry init` again"):
            refused()
    monkeypatch.delenv(VARIABLE)
    assert sign(local.root, keys).channels == ("phone/shoes/stable",)
    assert first.read_bytes() == content
    monkeypatch.setenv(VARIABLE, str(keys))
    assert (state := states(local)["stable"]).complete is not None and state.complete.version == version_of(SECOND)


def test_archive_binds_releases_and_lets_them_be_collected(
    local: Place, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in (FIRST, SECOND):
        local.open().put("phone", "shoes", model, manifest_of(model))
    push(local, THIRD)
    sign(local.root, keys)
    monkeypatch.setenv(VARIABLE, str(keys))
    mirror(local.root, copy := str(tmp_path / "copy"))
    assert not verify(copy).problems
    # Another release of the same version, which fits its own manifest.
    shutil.rmtree(folder := Path(local.root, "phone/shoes", version_of(FIRST)))
    local.open().put("phone", "shoes", FIRST, manifest_of(FIRST, 0.1))
    assert "not the one that was signed" in verify(local.root).problems[0].message
    shutil.rmtree(folder)
    collect(local.root, Retention(keep_last=1), 0.0)
    assert not verify(local.root).problems
    assert local.versions() == (version_of(THIRD),)


def test_conversion_that_is_killed_at_a_file_operation_is_repeated(local: Place, keys: Path) -> None:
    push(local, FIRST), push(local, SECOND), push(local, THIRD, "canary")
    before, unsigned = releases(local), local.root + "-unsigned"
    shutil.copytree(local.root, unsigned)
    killed, step, ends = True, 0, []
    while killed:
        step += 11
        shutil.rmtree(keys, ignore_errors=True)
        shutil.rmtree(local.root)
        shutil.copytree(unsigned, local.root)
        killed = killed_at(str(keys.parent), step, lambda: sign(local.root, keys))
        assert releases(local) == before
        ends.append(is_new := Path(local.root, "_tuf/1.root.json").exists())
        if not is_new:
            assert push(local, SECOND) is False
            assert sign(local.root, keys).releases == 3
        with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
            health, found = verify(local.root), states(local)
            assert (health.anchored, health.releases, health.problems) == (True, 3, ())
            assert found["stable"].complete is not None and found["stable"].complete.version == version_of(SECOND)
            assert found["canary"].complete is not None and found["canary"].complete.version == version_of(THIRD)
    assert ends == sorted(ends) and set(ends) == {False, True}
    assert step > 100
