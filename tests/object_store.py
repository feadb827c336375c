"""A server that speaks S3, in this process: moto's, with the users and policies that it is given."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

KEY_ID = "AKIAOBJECTSTORETEST1"
# Distinctive, and with what a URL or a log would escape.
SECRET = "wJalr/XUtn+FEMI=K7MDENG'bPxRfiCY\\EXAMPLE"
TOKEN = "FwoGZXIvYXdzEBYaD+session/token=="


class S3Server:
    """A running server with one bucket.

    Attributes:
        url: Its address.
        bucket: The bucket's name.
    """

    def __init__(self, url: str, bucket: str) -> None:
        self.url, self.bucket = url, bucket

    def client(self, service: str = "s3") -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
        )

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        client = self.client()
        found = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        keys = [one["Key"] for page in found for one in page.get("Contents", ())]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def put(self, folder: Path, prefix: str) -> None:
        client = self.client()
        for path in folder.iterdir():
            client.upload_file(str(path), self.bucket, f"{prefix}/{path.name}")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server that takes the environment's credentials, whatever they are, and the environment that finds it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        found = S3Server(f"http://{host}:{port}", "mill")
        found.client().create_bucket(Bucket=found.bucket)
        for name, value in {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": TOKEN,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": found.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        yield found
    finally:
        server.stop()


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
