"""Signed registries that tests of several packages share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.components.push.places import Place, Store


@pytest.fixture
def signed_registry(store: Store, tmp_path: Path) -> Iterator[Place]:
    """An empty registry of each kind that the file's `store` has, signed with the keys in `keys`."""
    from tests.components.push.places import signed_in

    with signed_in(store.place(tmp_path / "registry"), tmp_path / "keys") as place:
        yield place


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Place]:
    """An empty registry in a folder, signed with the keys in `keys`."""
    from tests.components.push.places import signed_in, store_of

    with store_of("local") as running, signed_in(running.place(tmp_path / "registry"), tmp_path / "keys") as place:
        yield place
