"""The registry, server, and devices that the tests of the device client share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.device_client.fleet import Fleet, fleet_in


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with fleet_in(tmp_path) as found:
        yield found
