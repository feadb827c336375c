"""`edgemill registry verify`, `gc`, `repair`, `mirror`, and `audit` on folders, and what they say about mistakes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from components.push.several import publish
from components.spec.registry import LocalRegistry
from components.trust.keys import VARIABLE
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from tests.components.push.places import MODEL, manifest_of, store_of
from tests.gateway import Gateway
from tests.object_store import S3Server

SECRET = "eyJhbGciOi.not-for-anybody.x9"


def edgemill(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["registry", *arguments])
    assert SECRET not in result.output
    assert S3Server.secret not in result.output
    return result.exit_code, " ".join(result.output.split())


def push(root: Path, model: bytes = MODEL, channel: str = "stable") -> str:
    spec = LocalRegistry(root=str(root), channel=channel)
    (release,), _ = publish([spec], "phone", "shoes", model, manifest_of(model))
    return release.version


@pytest.fixture
def root(tmp_path: Path) -> Path:
    push(tmp_path / "registry")
    return tmp_path / "registry"


def test_each_command_says_what_it_did_in_text_and_json(root: Path, tmp_path: Path) -> None:
    version = push(root, MODEL + b"!")
    code, said = edgemill("verify", str(root))
    assert (code, "not signed; 2 releases in 1 place, 10 files" in said, "all intact" in said) == (0, True, True), said
    assert json.loads(edgemill("verify", str(root), "--json")[1])["intact"] is True
    code, said = edgemill("gc", str(root), "--keep-last", "1", "--grace", "0s", "--dry-run")
    assert (code, "would remove an outdated release: phone/shoes/" in said) == (0, True), said
    code, said = edgemill("mirror", str(root), str(tmp_path / "mirror"))
    assert (code, "copied 2 releases" in said) == (0, True), said
    removed = json.loads(edgemill("gc", str(root), "--keep-last", "1", "--grace", "0s", "--json")[1])["removed"]
    assert [one["what"] for one in removed] == ["an outdated release"]
    (root / "phone/shoes" / version / "model.tflite").write_bytes(b"")
    code, said = edgemill("verify", str(root))
    assert (code, f"BROKEN phone/shoes/{version}" in said) == (ExitCode.NODE_FAILED, True), said
    assert said.count(f"phone/shoes/{version}") == 1, said
    code, said = edgemill("repair", str(root), "--from", str(tmp_path / "mirror"))
    assert (code, f"restored phone/shoes/{version}/model.tflite" in said) == (0, True), said
    code, said = edgemill("audit", str(root))
    assert code == 0
    assert [said.count(f": {what} ") for what in ("push", "gc", "repair")] == [2, 1, 1], said
    entries = json.loads(edgemill("audit", str(root), "--json")[1])["entries"]
    (root / "_audit" / entries[1]["name"]).unlink()
    code, said = edgemill("audit", str(root))
    assert (code, "the audit log was changed" in said) == (ExitCode.NODE_FAILED, True), said
    assert edgemill("verify", str(root))[0] == ExitCode.NODE_FAILED


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("verify", "nowhere"), 1, "there is no such registry"),
        (("gc", "nowhere"), 1, "there is no such registry"),
        (("mirror", "nowhere", "elsewhere"), 1, "there is no such registry"),
        (("mirror", "{root}", "{root}"), 1, "a registry cannot be its own mirror"),
        (("mirror", "{root}", "{root}/../registry/"), 1, "a registry cannot be its own mirror"),
        (("mirror", "{root}", "{root}/copy"), 1, "one of the registries is inside the other"),
        (("mirror", "{root}", "{root}/.."), 1, "one of the registries is inside the other"),
        (("mirror", "{root}", "elsewhere", "--place", "phone/boots"), 1, "there is nothing in this place"),
        (("verify", "{root}", "--place", "phone/boots"), 1, "there is nothing in this place"),
        (("gc", "{root}", "--place", "phone/boots"), 1, "there is nothing in this place"),
        (("verify", "{root}/.."), 1, "none of them from a push"),
        (("status", "{root}/.."), 1, "there is no registry here"),
        (("verify", "{root}/phone"), 1, "there is no registry here"),
        (("gc", "{root}/phone"), 1, "there is no registry here"),
        (("gc", "{root}/phone", "--keep-last", "1"), 1, "there is no registry here"),
        (("repair", "{root}/phone"), 1, "there is no registry here"),
        (("repair", "{root}/phone", "--from", "{root}"), 1, "there is no registry here"),
        (("audit", "{root}/phone"), 1, "there is no registry here"),
        (("mirror", "{root}/phone", "{root}/../copy"), 1, "there is no registry here"),
        (("verify", "{root}/phone/shoes"), 1, "there is no registry here"),
        (("verify", "{root}/phone", "--place", "phone/shoes"), 1, "there is nothing in this place"),
        (("verify", "{root}/..", "--place", "registry/phone"), 1, "there is nothing in this place"),
        (("verify", "{root}", "--trust", "{root}/phone/shoes/stable.json"), 2, "this is not a root of signed metadata"),
        (("repair", "{root}", "--from", "nowhere"), 1, "there is no such registry"),
        (("gc", "{root}", "--grace", "soon"), 2, "this is not a time (expected: a number with s, m, h, or d"),
        (("gc", "{root}", "--max-age", "-1d"), 2, "this is not a time"),
        (("gc", "{root}", "--keep-last", "0"), 2, "keep-last"),
        (("verify", "{root}", "--place", "phone"), 2, "this is not a place in a registry (expected: DEVICE_CLASS/NAME"),
        (("verify", "{root}", "--place", "../x"), 2, "this is not a place in a registry"),
        (("verify", "{root}", "--trust", "nowhere.json"), 2, "the trusted root cannot be read"),
        (("audit", "{root}", "--contains", "00000009-0"), 1, "this entry is missing"),
        (("verify", "oci://127.0.0.1:1/mill"), 1, "the registry cannot be reached"),
        (("init", "{root}/phone", "--keys", "{root}"), 2, "the folder for the keys is not empty"),
    ],
)
def test_mistake_is_reported(root: Path, arguments: tuple[str, ...], status: int, said: str) -> None:
    with mock.patch("components.object_store.oci.transport._FIRST_PAUSE_SECONDS", 0.01):
        code, output = edgemill(*(one.replace("{root}", str(root)) for one in arguments))
    assert (code, said in output) == (status, True), output
    assert "Remedy: " in output or code == 2
    assert not Path("elsewhere").exists()


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[Path]:
    assert edgemill("init", str(tmp_path / "signed"), "--keys", str(tmp_path / "keys"))[0] == 0
    with mock.patch.dict(os.environ, {VARIABLE: str(tmp_path / "keys")}):
        push(tmp_path / "signed")
        yield tmp_path / "signed"


def test_mistake_with_keys_is_reported(signed: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    place = f"{signed}/phone/shoes"
    (keys / "timestamp.pem").chmod(0o644)
    code, said = edgemill("refresh", str(signed), "--force")
    assert (code, "this private key is open to other users (expected: permissions 600; found: 644)" in said) == (
        2,
        True,
    )
    (keys / "timestamp.pem").chmod(0o600)
    for name in ("root-1.pem", "root-2.pem"):
        (keys / name).rename(tmp_path / name)
    code, said = edgemill("rotate", str(signed), "snapshot")
    assert (code, "there are not enough keys to sign as root (expected: 2 of the role's keys; found: 1)" in said) == (
        1, True)  # fmt: skip
    code, said = edgemill("pause", place, "--channel", "nightly")
    assert (code, "a signed registry has no such channel (expected: one of canary, beta, stable" in said) == (1, True)
    with mock.patch.dict(os.environ, {VARIABLE: ""}):
        code, said = edgemill("refresh", str(signed))
        assert (code, "there is no key set for it here" in said) == (1, True), said
        code, said = edgemill("verify", str(signed))
        assert (code, "verified from its own first root" in said) == (0, True), said
    other = tmp_path / "other"
    assert edgemill("init", str(other), "--keys", str(tmp_path / "more"))[0] == 0
    code, said = edgemill("verify", str(signed), "--trust", str(tmp_path / "more/root.json"))
    assert (code, f"{signed}: no signature is accepted; 1 release in 1 place" in said) == (1, True), said
    assert edgemill("verify", str(signed), "--trust", str(keys / "root.json"))[0] == 0


REFUSALS = [
    ("s3", (404, "<Error><Code>NoSuchBucket</Code></Error>"), "there is no such bucket"),
    ("s3", (403, "<Error><Code>AccessDenied</Code></Error>"), "the object store denies access"),
    ("s3", (400, "<Error><Code>ExpiredToken</Code></Error>"), "the credentials of the object store have expired"),
    ("s3", (400, "<Error><Code>AuthorizationHeaderMalformed</Code></Error>"), "in another region"),
    ("gcs", (403, "{}"), "the object store denies access"),
    ("gcs", (401, "{}"), "does not accept the credentials"),
    ("oci", (401, "{}"), "there are none for it"),
    ("oci", (403, '{"errors": [{"code": "DENIED"}]}'), "the registry denies access"),
    ("oci", (404, '{"errors": [{"code": "NAME_UNKNOWN"}]}'), "does not list its repositories"),
]


@pytest.mark.parametrize(("kind", "answer", "said"), REFUSALS, ids=[f"{one[0]} {one[2]}" for one in REFUSALS])
def test_store_that_refuses_is_reported_without_its_secrets(
    kind: str, answer: tuple[int, str], said: str, tmp_path: Path
) -> None:
    with store_of(kind) as store:
        place = store.place(tmp_path)
        gateway = store.gateway
        assert isinstance(gateway, Gateway)
        gateway.fault = lambda number, line: (
            answer[0],
            answer[1].replace("</Code>", f"</Code><Message>{SECRET}</Message>"),
        )
        for arguments in (("verify", place.root), ("mirror", place.root, str(tmp_path / "copy"))):
            code, output = edgemill(*arguments)
            assert (code, said in output, "Remedy: " in output) == (1, True, True), output
        gateway.reset()


def test_collection_claims_no_size_for_metadata_whose_size_is_unknown(signed: Path) -> None:
    push(signed, MODEL + b"!")
    code, said = edgemill("gc", str(signed), "--grace", "0s", "--dry-run")
    assert (code, "would remove superseded metadata" in said, "0 bytes" in said) == (0, True, False), said
