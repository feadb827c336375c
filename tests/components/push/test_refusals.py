"""How a refusal of an object store is reported, with servers that check names, policies, and conditions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core.errors import RegistryError
from components.object_store.clients import bucket_of
from components.push.registry import open_registry
from components.push.upkeep.convert import sign
from components.spec.registry import GcsRegistry, S3Registry
from tests.components.push.places import MODEL, ObjectFiles, Place, Store, store_of
from tests.gateway import Fault, Gateway
from tests.object_store import BUCKET, S3Server, free_port, google_server, s3_server, s3_user

NEEDED = "expected: permission to list, read, and write objects below the registry's root"


def gateway_of(store: Store) -> Gateway:
    assert store.gateway is not None
    return store.gateway


def test_s3_that_ignores_conditions_is_refused_and_left_empty(tmp_path: Path) -> None:
    with store_of("s3") as store:
        place = store.place(tmp_path)
        gateway_of(store).ignored = frozenset({"if-match", "if-none-match"})
        for attempt in (place.open().check_writable, place.push, lambda: place.publish(MODEL)):
            with pytest.raises(RegistryError, match="ignores conditions of writes, so two pushes could overwrite"):
                attempt()
            assert place.files.all() == {}


def test_emulator_that_ignores_conditions_is_refused_and_left_empty() -> None:
    with google_server():
        root = f"gs://{BUCKET}/registry"
        place = Place(GcsRegistry(kind="gcs", root=root), ObjectFiles(root))
        for attempt in (place.open().check_writable, lambda: place.publish(MODEL)):
            with pytest.raises(RegistryError, match=r"expected: If-Match and If-None-Match, or ifGenerationMatch"):
                attempt()
            assert list(bucket_of(root).objects("")) == []


@pytest.fixture
def strict() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


def test_push_needs_no_permission_to_remove(strict: S3Server) -> None:
    pusher = strict.user("pusher", "s3:ListBucket", "s3:GetObject", "s3:PutObject")
    strict.ask_names()
    place = Place(S3Registry(kind="s3", root=f"s3://{BUCKET}/strict"), ObjectFiles(f"s3://{BUCKET}/strict"))
    with s3_user(strict.url, *pusher):
        place.open().check_writable()
        assert place.push() == place.current()


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("", rf"denies access \({NEEDED}; found: AccessDenied\)"),
        ("hunter22hunter22", "does not accept the credentials .found: SignatureDoesNotMatch."),
    ],
    ids=["denied", "wrong secret"],
)
def test_refusing_s3_is_reported_before_anything_runs(strict: S3Server, secret: str, said: str) -> None:
    name, right = strict.user("reader", "s3:ListBucket", "s3:GetObject")
    strict.ask_names()
    with (
        s3_user(strict.url, name, secret or right),
        pytest.raises(RegistryError, match=rf"^s3://{BUCKET}/x.*: the registry cannot be used: .*{said}") as caught,
    ):
        open_registry(S3Registry(kind="s3", root=f"s3://{BUCKET}/x")).check_writable()
    assert (secret or right) not in str(caught.value)


def test_missing_bucket_is_reported_before_anything_runs(strict: S3Server) -> None:
    with pytest.raises(RegistryError, match=r"^s3://nobodys/x.*there is no such bucket.*Remedy: create it, or correct"):
        open_registry(S3Registry(kind="s3", root="s3://nobodys/x")).check_writable()


def test_s3_that_is_away_is_reported(tmp_path: Path) -> None:
    with (
        s3_user(f"http://127.0.0.1:{free_port()}", "someone", "anything"),
        pytest.raises(RegistryError, match=r"the object store cannot be reached .*EndpointConnectionError"),
    ):
        open_registry(S3Registry(kind="s3", root=f"s3://{BUCKET}/x")).check_writable()


def xml(code: str, extra: str = "") -> str:
    return f"<Error><Code>{code}</Code><Message>m</Message>{extra}</Error>"


@pytest.mark.parametrize(
    ("kind", "answer", "said"),
    [
        ("s3", (400, xml("ExpiredToken")), "the credentials of the object store have expired .*AWS_SESSION_TOKEN"),
        ("s3", (400, xml("AuthorizationHeaderMalformed")), "the bucket is in another region.*AWS_DEFAULT_REGION"),
        ("s3", (501, xml("NotImplemented")), "refuses the request .found: NotImplemented"),
        ("gcs", (403, "{}"), f"denies access .{NEEDED}; found: 403"),
        ("gcs", (401, "{}"), "does not accept the credentials, or there are none "),
        ("gcs", (404, '{"error": {"message": "The specified bucket does not exist."}}'), "there is no such bucket"),
    ],
)  # fmt: skip
def test_answers_of_the_store_are_explained(
    kind: str, answer: Fault, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with store_of(kind) as store:
        place = store.place(tmp_path)
        gateway_of(store).fault = lambda number, line: answer
        for attempt in (lambda: place.open().check_writable(), place.push, place.versions):
            with pytest.raises(
                RegistryError, match=rf"{place.root}.*: the registry cannot be used: .*{said}"
            ) as caught:
                attempt()
            assert caught.value.__cause__ is None
            assert S3Server.secret not in str(caught.value) + caplog.text
            assert S3Server.token not in str(caught.value) + caplog.text


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_store_that_ignores_conditions_is_not_signed(kind: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    if kind == "s3":
        with store_of("s3") as store:
            root = store.place(tmp_path).root
            gateway_of(store).ignored = frozenset({"if-match", "if-none-match"})
            with pytest.raises(RegistryError, match="ignores conditions of writes"):
                sign(root, keys)
            assert list(bucket_of(root).objects("")) == []
    else:
        with google_server():
            with pytest.raises(RegistryError, match="ignores conditions of writes"):
                sign(root := f"gs://{BUCKET}/registry", keys)
            assert list(bucket_of(root).objects("")) == []
    assert not keys.exists()
