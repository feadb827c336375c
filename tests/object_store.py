"""Servers that speak the protocols of object stores, in this process, and the environment that finds them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import requests
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer

BUCKET = "mill"
_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class S3Server:
    """A server of moto's with a bucket, that asks nobody's name unless `ask_names` was called.

    Attributes:
        url: Its address.
        key_id, secret, token: What the environment says while it runs.
    """

    key_id = "AKIAOBJECTSTORETEST1"
    # Distinctive, and with what URLs and logs would escape.
    secret = "wJalr/XUtn+FEMI=K7MDENG'bPxRfiCY\\EXAMPLE"
    token = "FwoGZXIvYXdzEBYaD+session/token=="

    def __init__(self, url: str) -> None:
        self.url = url
        self._keys = (self.key_id, self.secret)

    def client(self, service: str = "s3") -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self._keys[0],
            aws_secret_access_key=self._keys[1],
        )

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def put_folder(self, folder: Path, prefix: str) -> None:
        client = self.client()
        for path in folder.iterdir():
            client.upload_file(str(path), BUCKET, f"{prefix}/{path.name}")

    def user(self, name: str, *actions: str) -> tuple[str, str]:
        """A user who may do these things in the bucket; returns the access key's id and secret."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        there = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
        allowed = {"Effect": "Allow", "Action": actions, "Resource": there}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def ask_names(self) -> None:
        """From now on check signatures and policies; `client` and `objects` are signed by a user who may all."""
        self._keys = self.user("root", "s3:*")
        requests.post(f"{self.url}/moto-api/reset-auth", data="0", timeout=120)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server with an empty bucket, and the environment of a user of it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        found = S3Server(f"http://{host}:{port}")
        requests.post(f"{found.url}/moto-api/reset", timeout=120)  # all servers of a process have one memory
        found.client().create_bucket(Bucket=BUCKET)
        with s3_user(found.url, found.key_id, found.secret, found.token):
            yield found
        requests.post(f"{found.url}/moto-api/reset-auth", data="inf", timeout=120)
    finally:
        server.stop()


@contextmanager
def s3_user(url: str, key_id: str, secret: str, token: str = "") -> Iterator[None]:
    """The environment of one user of a server, and of nobody else."""
    environment = dict(zip(_VARIABLES, (key_id, secret, token), strict=True))
    environment |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": url, "AWS_EC2_METADATA_DISABLED": "true"}
    with mock.patch.dict(os.environ, environment):
        if not token:
            del os.environ["AWS_SESSION_TOKEN"]
        yield


@contextmanager
def google_server() -> Iterator[str]:
    """An emulator of Google Cloud Storage with an empty bucket, and the environment that finds it."""
    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    url = f"http://127.0.0.1:{port}"
    try:
        # Beam's client looks for Google's machines first.
        with mock.patch.dict(os.environ, {"STORAGE_EMULATOR_HOST": url, "NO_GCE_CHECK": "true"}):
            yield url
    finally:
        server.stop()


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
