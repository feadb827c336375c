"""What tests of pushes share. A file that needs other kinds of registries has a fixture `store` of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.components.push.places import Store
    from tests.components.push.pusher import Pushers


@pytest.fixture(scope="module", params=("local", "s3", "gcs", "oci"))
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A server of each kind. A file that kills processes says how long they keep the lock of an OCI registry."""
    from tests.components.push.places import QUICK_LOCK, store_of

    with store_of(request.param, getattr(request.module, "LOCK", QUICK_LOCK)) as running:
        yield running


@pytest.fixture(scope="module")
def processes(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushers]:
    """A process that forks others, which push to the registries of the store."""
    from tests.components.push.pusher import pushers

    with pushers(tmp_path_factory.mktemp("go")) as running:
        yield running
