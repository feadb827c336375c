from collections.abc import Iterator

import pytest

from tests.object_store import BUCKET, S3Server, google_server, s3_server


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(params=["s3", "gs"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """An address in an empty bucket of each kind."""
    with s3_server() if request.param == "s3" else google_server():
        yield f"{request.param}://{BUCKET}/some/where"
