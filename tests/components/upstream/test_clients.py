"""Private names of the clients of object stores, asserted on the installed libraries."""

from __future__ import annotations

import boto3
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from components.upstream.botocore import replace_bodies
from components.upstream.google_storage import session_of


def test_body_of_a_document_is_replaced_before_it_is_read() -> None:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="secret")

    content = b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"

    class Session:
        def send(self, request: object) -> object:
            assert vars(request)["stream_output"] is True
            return type("Answer", (), {"status_code": 200, "headers": {}, "raw": b"", "content": content})()

    client._endpoint.http_session = Session()
    replaced: list[object] = []

    def replace(body: object) -> object:
        replaced.append(body)
        return body

    replace_bodies(client, replace)
    assert client.list_objects_v2(Bucket="bucket")["KeyCount"] == 0
    assert replaced == [b""]


def test_session_of_googles_client_has_hooks() -> None:
    session = session_of(storage.Client(credentials=AnonymousCredentials(), project="p"))
    assert isinstance(session, requests.Session)
    assert session.hooks["response"] == []
