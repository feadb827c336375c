"""A first signing that is killed: it is finished with the same keys, or started over with others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from tuf.api.metadata import Metadata

from components.core.errors import RegistryError, SpecError
from components.push import signed
from components.push.registry import store_at
from components.push.several import publish
from components.push.upkeep.check import verify
from components.trust.keys import VARIABLE
from components.trust.setup import create
from components.trust.storage import ListedStore
from tests.components.push.places import MODEL, Place, Store, manifest_of, store_of
from tests.forked import killed_at


class Killed(BaseException):
    """What no handler of errors catches."""


class Dying:
    """A store that raises before its n-th write, or after it."""

    def __init__(self, store: ListedStore, last: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, last, after
        self.read, self.exclusive = store.read, store.exclusive

    def write_if(self, name: str, content: bytes, version: str | None) -> bool:
        self._left -= 1
        if not self._left and not self._after:
            raise Killed
        done = self._store.write_if(name, content, version)
        if not self._left:
            raise Killed
        return done


@pytest.fixture(scope="module", params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param) as running:
        yield running


def check_in_use(place: Place, keys: Path) -> None:
    """Verify the registry, push to it, and verify it again."""
    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
        for _ in range(2):
            health = verify(place.root)
            assert (health.signed, health.anchored, health.problems) == (True, True, ())
            (release,), was_signed = publish([place.spec], "phone", "shoes", MODEL, manifest_of(MODEL))
            assert was_signed
        registry = signed.open_signed(place.root)
        assert registry is not None
        assert registry.channel("phone", "shoes", "stable").stages[0].release.version == release.version


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("other", [False, True], ids=["same keys", "other keys"])
def test_signing_that_is_killed_at_a_write_is_repeated(store: Store, tmp_path: Path, after: bool, other: bool) -> None:
    first, keys = tmp_path / "keys", tmp_path / ("more" if other else "keys")
    committed = []
    for step in range(1, 10):
        for folder in (first, keys):
            shutil.rmtree(folder, ignore_errors=True)
        place = store.place(tmp_path / f"registry-{step}")
        root = signed.normal(place.root)
        try:
            create(root, Dying(store_at(root), step, after=after), first)
            break
        except Killed:
            before = {path.name: path.read_bytes() for path in first.glob("*.pem")}
        try:
            create(root, store_at(root), keys)
        except RegistryError as error:  # The killed one was complete.
            assert "already signed" in str(error)
            committed.append(step)
            check_in_use(place, first)
            continue
        check_in_use(place, keys)
        if not other:
            assert before.items() <= {path.name: path.read_bytes() for path in keys.glob("*.pem")}.items()
    assert step == 5
    assert committed == ([4] if after else [])


def test_signing_that_is_killed_at_a_file_operation_is_repeated(tmp_path: Path) -> None:
    with store_of("local") as running:
        place = running.place(tmp_path / "registry")
    root, keys = signed.normal(place.root), tmp_path / "keys"
    killed, step = True, 0
    while killed:
        step += 3
        for folder in (Path(root), keys):
            shutil.rmtree(folder, ignore_errors=True)
        killed = killed_at(str(tmp_path), step, lambda: create(root, store_at(root), keys))
        if store_at(root).read("1.root.json") is None:
            create(root, store_at(root), keys)
        with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
            health = verify(root)
        assert (health.signed, health.anchored, health.problems) == (True, True, ())
    assert step > 60
    check_in_use(place, keys)


def test_second_signing_at_the_same_time_leaves_the_first_one_as_it_is(tmp_path: Path) -> None:
    with store_of("local") as running:
        place = running.place(tmp_path / "registry")
    root = signed.normal(place.root)

    class Overtaken(Dying):
        """The first process continues before the last write of the second one, which has replaced its timestamp."""

        def write_if(self, name: str, content: bytes, version: str | None) -> bool:
            if name == "1.root.json":
                assert store_at(root).write_if(name, anchor, None)
            return super().write_if(name, content, version)

    with pytest.raises(Killed):
        create(root, Dying(store_at(root), 4, after=False), tmp_path / "first")
    anchor = (tmp_path / "first/root.json").read_bytes()
    with pytest.raises(RegistryError, match="another process has just signed this registry"):
        create(root, Overtaken(store_at(root), 0, after=False), tmp_path / "second")
    check_in_use(place, tmp_path / "first")


def test_only_what_an_incomplete_signing_left_is_replaced(tmp_path: Path) -> None:
    with store_of("local") as running:
        place = running.place(tmp_path / "registry")
    root = signed.normal(place.root)
    create(root, store_at(root), tmp_path / "keys")
    check_in_use(place, tmp_path / "keys")
    # A registry in use whose first root was removed.
    (Path(root) / "_tuf/1.root.json").rename(tmp_path / "1.root.json")
    for keys in ("keys", "more"):
        with pytest.raises(RegistryError, match="already signed"):
            create(root, store_at(root), tmp_path / keys)
    # Keys in use don't sign an empty set, which devices would take for a replay.
    shutil.rmtree(Path(root) / "_tuf")
    with pytest.raises(SpecError, match="folder for the keys is not empty"):
        create(root, store_at(root), tmp_path / "keys")


def test_validity_of_the_repeated_signing_counts(tmp_path: Path) -> None:
    root = str(tmp_path / "registry")
    with pytest.raises(Killed):
        create(root, Dying(store_at(root), 2, after=True), tmp_path / "keys")
    registry = create(root, store_at(root), tmp_path / "keys", 3)
    assert Metadata.from_bytes(registry.keys.root).signed.unrecognized_fields["x-edgemill-expiry-days"] == {
        "root": 365, "targets": 365, "channels": 365, "snapshot": 30, "timestamp": 3}  # fmt: skip
    assert registry.read().root.signed.version == 1
