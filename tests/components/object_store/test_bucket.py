"""Both kinds of buckets do the same, against servers that speak their protocols."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.core.errors import SpecError, StorageError
from components.object_store.bucket import RefusedError, is_address, split
from components.object_store.clients import bucket_of
from tests.object_store import S3Server, free_port, s3_user


def test_objects_are_written_listed_and_read(address: str) -> None:
    bucket = bucket_of(address)
    contents = {"some/b": b"second", "some/a/x": b"first", "some/c": b"", "other": b"elsewhere"}
    before = time.time()
    for key, content in contents.items():
        bucket.write(key, content)
    found = list(bucket.objects("some/"))
    assert [(one.key, one.size) for one in found] == [("some/a/x", 5), ("some/b", 6), ("some/c", 0)]
    assert all(abs(one.modified - before) < 60 for one in found)
    assert {key: bucket.read(key) for key in contents} == contents


def test_other_content_of_the_same_size_is_another_version(address: str) -> None:
    bucket, key = bucket_of(address), f"{split(address)[2]}/data"
    versions = []
    for content in (b"content", b"CONTENT"):
        bucket.write(key, content)
        versions.append([one.version for one in bucket.objects(key)])
    assert all(len(found) == 1 and found[0] for found in versions)
    assert versions[0] != versions[1]


def test_object_that_is_not_there_is_reported(address: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{address}/nothing"):
        bucket_of(address).read(f"{split(address)[2]}/nothing")


def test_files_go_there_and_back(address: str, tmp_path: Path) -> None:
    # More than the clients send in one piece, and nothing at all.
    for name, content in (("large", bytes(range(256)) * (40 << 10)), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        bucket_of(address).upload(tmp_path / name, f"up/{name}")
        bucket_of(address).download(f"up/{name}", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == content


def test_any_number_of_objects_is_removed_whether_or_not_they_are_there(address: str) -> None:
    bucket = bucket_of(address)
    bucket.write("last", b"x")
    bucket.delete([*(f"nothing/{number}" for number in range(1000 if address.startswith("s3") else 3)), "last"])
    assert list(bucket.objects("")) == []


def test_missing_bucket_is_reported(address: str) -> None:
    missing = f"{address.partition('://')[0]}://nobodys/x"
    with pytest.raises(
        RefusedError, match=r"nobodys/x: there is no such bucket.* Remedy: create it, or correct its name"
    ):
        list(bucket_of(missing).objects("x"))


def test_s3_without_permission_and_with_wrong_credentials_is_reported(server: S3Server) -> None:
    reader = server.user("reader", "s3:ListBucket")
    server.ask_names()
    with s3_user(server.url, *reader):
        assert list(bucket_of("s3://mill/x").objects("x")) == []
        with pytest.raises(RefusedError, match=r"s3://mill/x: the object store denies access .*found: AccessDenied"):
            bucket_of("s3://mill/x").write("x", b"")
    with s3_user(server.url, reader[0], "hunter22hunter22"), pytest.raises(StorageError) as caught:
        bucket_of("s3://mill/x").write("x", b"")
    assert "does not accept the credentials (found: SignatureDoesNotMatch)" in str(caught.value)
    assert caught.value.__cause__ is None


def test_s3_without_credentials_is_reported(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageError, match=r"there are no credentials for the object store.*AWS_PROFILE"):
        list(bucket_of("s3://mill/x").objects("x"))


def test_s3_server_that_is_away_is_reported(server: S3Server) -> None:
    with (
        s3_user(f"http://127.0.0.1:{free_port()}", "someone", "anything"),
        pytest.raises(StorageError, match=r"the object store cannot be reached .*EndpointConnectionError from http"),
    ):
        bucket_of("s3://mill/x").read("x")


def test_other_addresses_have_no_client() -> None:
    assert [is_address(path) for path in ("s3://b/k", "gs://b/k", "/s3/b", "hdfs://b", "s3:/b")] == [
        *(True, True, False, False, False)
    ]
    with pytest.raises(SpecError, match=r"hdfs://b: there is no client .*expected: s3:// or gs://"):
        bucket_of("hdfs://b/k")


def test_client_of_google_prints_no_warnings_that_users_cannot_act_on() -> None:
    program = "from components.object_store.clients import bucket_of; bucket_of('gs://mill/x')"
    environment = {**os.environ, "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
