"""Copies of artifacts: whole, no more than once over the network, and never of another's artifact."""

import logging
import re
from pathlib import Path

import pytest

from components.core.errors import StorageError
from components.object_store.clients import bucket_of
from pipelines.storage.staging import Staging, discard, folder_sizes, is_empty, read

NAMES = {"manifest.json": b"{}", "a/first": b"1", "a/second": b"22", "empty": b""}


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def published(address: str, tmp_path: Path) -> Staging:
    """One who wrote an artifact."""
    staging = Staging(tmp_path / "writer")
    for name, content in NAMES.items():
        path = Path(staging.local(address), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    staging.publish(address)
    return staging


def test_artifact_comes_whole_and_the_manifest_was_written_last(
    published: Staging, address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Staging(tmp_path / "reader")
    other.fetch(address)
    assert files(Path(other.local(address))) == NAMES
    assert not list((tmp_path / "reader" / ".incoming").iterdir())
    if address.startswith("s3"):
        messages = "\n".join(record.getMessage() for record in caplog.get_records("setup"))
        put = re.findall(r'"PUT /mill/some/where/(\S+) ', messages)
        assert sorted(put) == sorted(NAMES) and put[-1] == "manifest.json"


def test_nothing_comes_twice(
    published: Staging, address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(published.local(address))
    before = {name: (folder / name).stat().st_ino for name in NAMES}
    published.fetch(address)
    assert {name: (folder / name).stat().st_ino for name in NAMES} == before
    other = Staging(tmp_path / "reader")
    other.fetch(address)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        other.fetch(address)
    assert not [message for message in caplog.messages if "GET /mill/some" in message]


def test_copy_that_is_not_what_the_store_has_is_replaced(published: Staging, address: str) -> None:
    folder = Path(published.local(address))
    (folder / "a" / "first").write_bytes(b"x")  # as long, but of another time
    (folder / "a" / "second").unlink()
    (folder / "stranger").write_bytes(b"of an artifact that was counted alike")
    published.fetch(address)
    assert files(folder) == NAMES


def test_object_that_vanishes_is_reported(published: Staging, address: str, tmp_path: Path) -> None:
    bucket, other = bucket_of(address), Staging(tmp_path / "reader")

    class Vanishing(Staging):
        def local(self, uri: str) -> str:
            # Between the list of objects and their content.
            bucket.delete(["some/where/empty"])
            return other.local(uri)

    with pytest.raises(StorageError, match=f"{address}/empty: an object of the artifact has vanished.*run again"):
        Vanishing(tmp_path / "reader").fetch(address)


def test_empty_output_is_there_all_the_same(address: str, tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    Path(staging.local(address)).mkdir(parents=True)
    assert is_empty(address)
    staging.publish(address)
    assert not is_empty(address)
    other = Staging(tmp_path / "reader")
    other.fetch(address)
    assert files(Path(other.local(address))) == {}


def test_addresses_and_folders_are_distinguished(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    assert staging.local("s3://b/k/x") == f"{tmp_path}/s3/b/k/x"
    assert staging.remote(f"{tmp_path}/gs/b/k") == "gs://b/k"
    for other in ("/srv/mill/x", "", f"{tmp_path}/other/b", "int8", "hdfs://b/k"):
        assert staging.local(other) == other
        assert staging.remote(other) == other


def test_sizes_reading_and_removal(published: Staging, address: str, tmp_path: Path) -> None:
    bucket_of(address).write("some/where/else/x", b"four")
    assert folder_sizes(address, 1) == {f"{address}/a": 3, f"{address}/else": 4}
    assert read(address, "a/second") == b"22"
    assert read(address, "nothing") is None
    assert read(published.local(address), "a/second") == b"22"
    assert read(str(tmp_path), "nothing") is None
    discard(f"{address}/a")
    assert folder_sizes(address, 1) == {f"{address}/else": 4}
