"""Servers whose storage is full, or whose quota is used up, at any write of a push: the old release stays."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from components.core.errors import RegistryError, RegistryUnreachableError
from components.core.files import sha256_of_bytes
from components.object_store import gcs
from components.object_store.oci import transport
from components.push.upkeep.check import verify
from components.spec.registry import LocalRegistry, OciRegistry
from tests.components.push.places import (
    KINDS,
    MODEL,
    QUICK_LOCK,
    FolderFiles,
    OciFiles,
    Place,
    Store,
    signed_in,
    store_of,
)
from tests.gateway import Fault
from tests.oci_server import oci_server

OTHER = MODEL[::-1]
# Writes between two attempts.
STRIDE = {"s3": 2, "gcs": 2, "oci": 12}
SAID = "has no space left, or its quota is used up .*Remedy: free up space in its storage or raise the quota, and"
BY_DOCKER = (500, '{"errors": [{"code": "UNKNOWN", "detail": {"Enclosed": {"Op": "write", "Path": "/x", "Err":28}}}]}')
BY_HARBOR = (
    403,
    '{"errors": [{"code": "DENIED", "message": "adding 2.1 MiB of storage resource, which when updated to current '
    'usage of 8.3 MiB will exceed the configured upper limit of 10.0 MiB."}]}',
)


def xml(code: str, message: str = "m") -> str:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


ANSWERS: dict[str, list[Fault]] = {
    "s3": [
        (507, xml("XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")),
        (500, xml("InternalError", "We encountered an internal error: cause(no space left on device)")),
        (403, xml("QuotaExceeded")),
    ],
    "gcs": [
        (507, '{"error": {"message": "Insufficient Storage"}}'),
        (403, '{"error": {"message": "Over the quota.", "errors": [{"reason": "quotaExceeded"}]}}'),
    ],
    "oci": [BY_DOCKER, BY_HARBOR, (507, "")],
}


@pytest.fixture(scope="module", params=KINDS[1:])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    # A store that is full doesn't take back the lock of an OCI registry.
    with store_of(request.param, {**QUICK_LOCK, "LEASE_SECONDS": 2.0}) as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(gcs, "_RETRY", gcs.DEFAULT_RETRY.with_delay(initial=0.01))


def test_store_that_is_full_from_any_write_on_is_explained_and_keeps_the_old_release(
    store: Store, tmp_path: Path
) -> None:
    assert store.gateway is not None
    place = store.place(tmp_path)
    old = place.push(OTHER)
    failed = 0
    for first in range(100):
        fill(store, first, ANSWERS[store.kind][first % len(ANSWERS[store.kind])])
        try:
            new = place.push(MODEL + bytes([first]))
        except RegistryUnreachableError as error:
            assert re.search(SAID, str(error)), error
            store.gateway.reset()
            assert place.current() == old
            failed += 1
        else:
            break
    store.gateway.reset()
    assert failed >= 4
    assert place.current() == new
    assert place.push(MODEL) == place.current()


def fill(store: Store, first: int, answer: Fault) -> None:
    """Let all writes after the first ones fail."""
    assert store.gateway is not None
    writes = 0

    def full(number: int, line: str) -> Fault:
        nonlocal writes
        is_write = line.startswith(("PUT", "POST", "PATCH"))
        writes += is_write
        return answer if is_write and writes > first else None

    store.gateway.reset()
    store.gateway.fault = full


def test_signed_store_that_is_full_from_any_write_on_has_the_signed_release_of_before_or_the_new_one(
    store: Store, tmp_path: Path
) -> None:
    assert store.gateway is not None
    ends = []
    with signed_in(store.place(tmp_path), tmp_path / "keys") as place:
        for first in range(0, 200, STRIDE[store.kind]):
            old, model = place.publish(OTHER + bytes([first])), MODEL + bytes([first])
            fill(store, first, ANSWERS[store.kind][-1])  # which no client tries again
            try:
                new = place.publish(model)
            except RegistryUnreachableError as error:
                assert re.search(SAID, str(error)), error
                store.gateway.reset()
                ends.append(signed_version(place) != old)
                assert signed_version(place) in {old, sha256_of_bytes(model)[:16]}
                assert not (health := verify(place.root)).problems, health.problems
            else:
                break
        store.gateway.reset()
        assert signed_version(place) == new == place.publish(model)
    assert len(ends) >= 3
    assert ends == sorted(ends)


def test_full_disk_of_a_real_registry_is_explained_and_keeps_the_old_release(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root and a kernel that allows it")
    try:
        with oci_server(disk) as server, mock.patch.dict(os.environ, {"DOCKER_CONFIG": str(tmp_path)}):
            root = f"oci://{server.host}/mill"
            place = Place(OciRegistry(kind="oci", root=root), OciFiles(server, root))
            old = place.push(os.urandom(100_000))
            for size in (400_000, 5_000_000):  # in one piece, and in several
                with pytest.raises(RegistryUnreachableError, match=SAID):
                    place.push(os.urandom(size))
                assert place.current() == old
                assert place.versions() == (old.version,)
            subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
            assert place.push(MODEL) == place.current()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_full_disk_below_a_signed_folder_keeps_the_signed_release(tmp_path: Path) -> None:
    disk, keys = tmp_path / "disk", tmp_path / "keys"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root and a kernel that allows it")
    try:
        place = Place(LocalRegistry(root=str(disk / "registry")), FolderFiles(disk / "registry"))
        with signed_in(place, keys):
            old, filler, failed = place.publish(OTHER), disk / "filler", 0
            for pages in range(40):
                filler.write_bytes(b"")
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                filler.write_bytes(bytes(max(0, free - pages * 4096)))
                # Another one each time, so that the release of the last attempt doesn't leave room for the metadata.
                model = MODEL + bytes([pages])
                try:
                    new = place.publish(model)
                except RegistryError as error:
                    assert "No space left on device" in str(error)
                    failed += 1
                    filler.unlink()
                    assert signed_version(place) == old
                    assert not (health := verify(place.root)).problems, health.problems
                else:
                    break
            filler.unlink(missing_ok=True)
            assert failed >= 10
            assert signed_version(place) == new == place.publish(model)
            assert not verify(place.root).problems
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def signed_version(place: Place) -> str:
    (stage,) = place.registry().channel("phone", "shoes", "stable").stages
    return stage.release.version
