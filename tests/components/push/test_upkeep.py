"""Verification, garbage collection, repair, and mirrors of every kind of registry, against real servers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.push.several import publish
from components.push.upkeep import files
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.push.upkeep.mirror import mirror
from components.push.upkeep.retention import Retention
from tests.components.push.places import FILE_KINDS, KINDS, MODEL, Place, Store, manifest_of, store_of

OTHER = MODEL[::-1]
VERSION = hashlib.sha256(MODEL).hexdigest()[:16]
_LOG = ("_audit/", "tag edgemill-audit:")
HERE = f"phone/shoes/{VERSION}"


@pytest.fixture(scope="module")
def stores() -> Iterator[dict[str, Store]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield {kind: stack.enter_context(store_of(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Place:
    return stores[request.param].place(tmp_path / "registry")


@pytest.fixture(params=FILE_KINDS)
def file_place(request: pytest.FixtureRequest, stores: dict[str, Store], tmp_path: Path) -> Place:
    return stores[request.param].place(tmp_path / "registry")


def releases(place: Place) -> dict[str, bytes]:
    """Everything but the audit log."""
    return {name: content for name, content in place.files.all().items() if not name.startswith(_LOG)}


def test_intact_registry_is_verified_and_unchanged(place: Place) -> None:
    place.push(), place.push(OTHER, channel="beta")
    before = place.files.all()
    health = verify(place.root)
    assert not health.problems, health.problems
    assert (health.signed, health.places, health.releases, health.channels, health.files) == (False, 1, 2, 2, 6)
    assert health.bytes > 2 * len(MODEL)
    assert health.strangers == health.incomplete == ()
    assert place.files.all() == before


@pytest.mark.parametrize("file", ["model.tflite", "model.tflite.gz", "manifest.json"])
def test_every_damaged_file_is_named(place: Place, file: str) -> None:
    place.push(OTHER), place.push()
    content = place.files.all()[f"{HERE}/{file}"]
    place.files.write(f"{HERE}/{file}", content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    health = verify(place.root)
    assert [one.where for one in health.problems][:1] == [HERE]
    assert health.releases == 1
    place.files.remove(f"{HERE}/{file}")
    health = verify(place.root)
    if file == "manifest.json" and place.spec.kind != "oci":
        # Without its manifest, no push has completed it. The channel names it.
        assert health.incomplete == (HERE,)
        assert [one.where for one in health.problems] == ["phone/shoes: stable"]
    else:
        assert health.problems[0].where == HERE


@pytest.mark.parametrize("target", KINDS)
def test_mirror_is_the_same_byte_by_byte_and_a_second_one_changes_nothing(
    place: Place, target: str, stores: dict[str, Store], tmp_path: Path
) -> None:
    place.push(OTHER), place.push(), place.push(channel="beta")
    copy = _other_place(place, stores[target], tmp_path)
    both = (f"phone/shoes/{hashlib.sha256(OTHER).hexdigest()[:16]}", HERE)
    assert mirror(place.root, copy.root, dry_run=True).copied == both
    assert copy.files.all() == {}
    done = mirror(place.root, copy.root)
    assert (len(done.copied), done.problems, len(done.pointed)) == (2, (), 2)
    if (target == "oci") == (place.spec.kind == "oci"):
        assert releases(copy) == releases(place)
    assert copy.current() is not None
    assert copy.current().manifest == place.current().manifest
    again = mirror(place.root, copy.root)
    assert (again.copied, again.unchanged, again.pointed, again.bytes) == ((), 2, (), 0)
    assert not verify(copy.root).problems
    # And back, into a folder, byte by byte.
    back = stores["local"].place(tmp_path / "back")
    mirror(copy.root, back.root)
    assert {name: content for name, content in releases(back).items() if "/" in name.split("shoes/")[1]} == {
        name: content for name, content in releases(place).items() if name.count("/") == 3}  # fmt: skip


def _other_place(place: Place, store: Store, folder: Path) -> Place:
    """A registry of another root. The server of `oci` isn't emptied for it."""
    clear = store.oci.clear if store.oci else None
    if store.oci:
        store.oci.clear = lambda: None  # type: ignore[method-assign]
    try:
        return store.place(folder / "mirror")
    finally:
        if store.oci and clear:
            store.oci.clear = clear  # type: ignore[method-assign]


def kill_a_push(place: Place, model: bytes) -> None:
    """Leave what a push of a model leaves that is killed before its manifest."""
    version = hashlib.sha256(model).hexdigest()[:16]
    place.files.write(f"phone/shoes/{version}/model.tflite", model)


def test_leftovers_are_removed_after_the_grace_period_and_nothing_else(
    file_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_place.push()
    before = releases(file_place)
    kill_a_push(file_place, OTHER)
    file_place.files.write("phone/shoes/.staging-abcdefgh/model.tflite", OTHER)
    file_place.files.write(f"{HERE}/content/{'0' * 16}/card.md", b"of another decision")
    file_place.files.write("README.txt", b"by hand")
    young = collect(file_place.root, grace=3600.0)
    assert (young.removed, young.kept_young) == ((), 3)
    # Nobody knows whether a push still writes a temporary file, so it is kept for an hour in any case.
    assert collect(file_place.root, grace=0.0, dry_run=True).kept_young == 1
    monkeypatch.setattr(files, "STALE_SECONDS", 0.0)
    planned = collect(file_place.root, grace=0.0, dry_run=True)
    assert len(releases(file_place)) == len(before) + 4
    done = collect(file_place.root, grace=0.0)
    assert done.removed == planned.removed
    assert {one.what for one in done.removed} == {
        "a temporary file", "an incomplete release", "files of a replaced manifest"}  # fmt: skip
    assert releases(file_place) == {**before, "README.txt": b"by hand"}
    assert verify(file_place.root).strangers == ("README.txt",)
    assert collect(file_place.root, grace=0.0).removed == ()


def test_retention_keeps_the_newest_and_what_a_channel_names(place: Place) -> None:
    models = [MODEL + bytes([number]) for number in range(5)]
    publish([place.spec.model_copy(update={"channel": "beta"})], "phone", "shoes", models[0], manifest_of(models[0]))
    for model in models[1:]:
        publish([place.spec], "phone", "shoes", model, manifest_of(model))
    names = [hashlib.sha256(model).hexdigest()[:16] for model in models]
    assert collect(place.root, Retention(keep_last=2), grace=3600.0).removed == ()
    assert collect(place.root, Retention(max_age=1e6), grace=0.0).removed == ()
    done = collect(place.root, Retention(keep_last=2), grace=0.0)
    assert [one.where for one in done.removed] == [f"phone/shoes/{one}" for one in names[1:3]]
    assert set(place.versions()) == {names[0], names[3], names[4]}
    assert not verify(place.root).problems
    assert collect(place.root, Retention(keep_last=2), grace=0.0).removed == ()
