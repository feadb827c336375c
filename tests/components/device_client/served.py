"""Registries of every kind as devices see them, with the requests and bytes that devices cause."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import boto3

from tests.components.device_client.fleet import Server
from tests.components.push.places import Place, Store
from tests.object_store import BUCKET


class Served(Protocol):
    """The settings of a device.

    Attributes:
        url: The address for `edgemill-device init --url`.
    """

    url: str

    def counted(self) -> tuple[int, int]:
        """Requests, and bytes in bodies, since `start`."""
        ...

    def start(self) -> None:
        """Count from 0."""


class _Folder:
    """A folder behind a web server."""

    def __init__(self, server: Server) -> None:
        self._server, self.url = server, server.url

    def counted(self) -> tuple[int, int]:
        return len(self._server.asked), sum(size for _, _, size in self._server.asked)

    def start(self) -> None:
        self._server.asked.clear()


class _Gateway:
    """A bucket that everybody can read, or an OCI registry."""

    def __init__(self, place: Place, store: Store) -> None:
        assert store.gateway is not None
        self._gateway, self._before = store.gateway, (0, 0)
        self.url = place.root if store.kind == "oci" else f"{store.gateway.url}/{place.root.partition('://')[2]}"

    def counted(self) -> tuple[int, int]:
        requests, size = self._before
        return len(self._gateway.requests) - requests, self._gateway.bytes - size

    def start(self) -> None:
        self._before = (len(self._gateway.requests), self._gateway.bytes)


@contextmanager
def served(place: Place, store: Store) -> Iterator[Served]:
    """Let devices read a registry: a folder behind a web server, or the store's own server."""
    if store.kind == "local":
        server = Server(Path(place.root))
        try:
            yield _Folder(server)
        finally:
            server.close()
        return
    if store.kind == "s3":
        allowed = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{BUCKET}/*",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        boto3.client("s3").put_bucket_policy(Bucket=BUCKET, Policy=policy)
    yield _Gateway(place, store)
