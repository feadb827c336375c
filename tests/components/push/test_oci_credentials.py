"""Signing in to OCI registries: Debian's registry with a password, and a server that asks for tokens."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from components.core.errors import RegistryError, StorageError
from components.device_client.network import Network
from components.device_client.oci import OciReader
from components.object_store.oci import transport
from components.object_store.oci.credentials import Credentials, credentials_for
from components.push.audit import newest, read_log
from components.push.registry import open_registry
from components.push.signed import open_signed
from components.push.upkeep.check import verify
from components.spec.registry import OciRegistry
from edgemill.main import app
from tests.components.push.places import MODEL, manifest_of
from tests.oci_server import OciServer, oci_server

USER, PASSWORD = "mill", "hunter22hunter22"
# As `htpasswd -B` writes it.
HASH = "$2y$05$abcdefghijklmnopqrstuuj9KbBqXiuigCuGtxjVVvCPKx05YHv3O"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OciServer]:
    """A registry that asks for a user and a password."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / "htpasswd").write_text(f"{USER}:{HASH}\n")
    with oci_server(folder, f"auth: {{htpasswd: {{realm: r, path: {folder}/htpasswd}}}}\n") as server:
        yield server


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No credentials in the environment; returns the folder of Docker's configuration."""
    monkeypatch.setattr(transport, "_FIRST_PAUSE_SECONDS", 0.01)
    for name in ("DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def config(host: str, password: str = PASSWORD) -> str:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    return json.dumps({"auths": {host: {"auth": auth}}})


def in_docker_file(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "config.json").write_text(config(host))


def in_variable(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", config(host))


def in_auth_file(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "auth.json").write_text(config(host))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(folder / "auth.json"))


def in_helper(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "config.json").write_text(json.dumps({"credHelpers": {host: "mill"}}))
    found = json.dumps({"ServerURL": host, "Username": USER, "Secret": PASSWORD})
    (folder / "docker-credential-mill").write_text(f"#!/bin/sh\necho '{found}'\n")
    (folder / "docker-credential-mill").chmod(0o755)


@pytest.mark.parametrize("written", [in_docker_file, in_variable, in_auth_file, in_helper])
def test_credentials_are_found_where_other_tools_write_them(
    closed: OciServer, nobody: Path, monkeypatch: pytest.MonkeyPatch, written: Callable[..., None]
) -> None:
    written(nobody, closed.host, monkeypatch)
    registry = open_registry(OciRegistry(kind="oci", root=f"oci://{closed.host}/mill"))
    registry.check_writable()
    release = registry.put("phone", "shoes", MODEL, manifest_of(MODEL))
    registry.commit(release)
    assert registry.current("phone", "shoes") == release


@pytest.mark.parametrize(
    ("password", "said"),
    [
        (None, "asks for credentials, and there are none for it .*Remedy: sign in: `docker login 127"),
        ("swordfish-swordfish", "does not accept the credentials: they are wrong or have expired .found: 401 UNAUTHOR"),
    ],
    ids=["nobody", "wrong"],
)
def test_refusal_is_reported_before_anything_runs_without_the_secret(
    closed: OciServer, nobody: Path, password: str | None, said: str
) -> None:
    if password is not None:
        (nobody / "config.json").write_text(config(closed.host, password))
    registry = open_registry(OciRegistry(kind="oci", root=f"oci://{closed.host}/mill"))
    for attempt in (registry.check_writable, lambda: registry.put("phone", "shoes", MODEL, manifest_of(MODEL))):
        with pytest.raises(RegistryError, match=rf"^oci://127.*: the registry cannot be used: .*{said}") as caught:
            attempt()
        assert caught.value.__cause__ is None
        for secret in (password or PASSWORD, config(closed.host, password or PASSWORD)[-30:-4]):
            assert secret not in str(caught.value)


def test_registry_that_asks_for_credentials_is_not_taken_for_an_unsigned_or_empty_one(closed: OciServer) -> None:
    root = f"oci://{closed.host}/mill"
    asked = "asks for credentials, and there are none for it"
    for read in (lambda: open_signed(root), lambda: read_log(root), lambda: verify(root), lambda: newest(root)):
        with pytest.raises(RegistryError, match=asked):
            read()
    for command in ("status", "refresh", "audit", "verify"):
        done = CliRunner().invoke(app, ["registry", command, root])
        assert (done.exit_code, asked in " ".join(done.output.split())) == (1, True), done.output


def test_credentials_of_another_registry_are_not_sent(closed: OciServer, nobody: Path) -> None:
    (nobody / "config.json").write_text(config("registry.example.com"))
    assert credentials_for(closed.host) is None
    assert credentials_for("registry.example.com") == Credentials(USER, PASSWORD)
    assert PASSWORD not in repr(credentials_for("registry.example.com"))


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"auths": {"h": {"auth": "hunter22hunter22!"}}}', '{"credsStore": "absent"}'],
)
def test_unreadable_credentials_are_named_without_their_content(nobody: Path, content: str) -> None:
    (nobody / "config.json").write_text(content)
    with pytest.raises(StorageError, match=r"config\.json: the credentials of the registry cannot be read") as caught:
        credentials_for("h")
    assert "hunter22" not in str(caught.value)


@pytest.fixture
def tokens() -> Iterator[tuple[str, list[tuple[str, dict[str, Any], str]], dict[str, str]]]:
    """A registry that asks for a token: its host, what the token server was asked, and its settings."""
    asked: list[tuple[str, dict[str, Any], str]] = []
    settings = {"realm": "", "valid": "first"}

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            sent = self.headers.get("Authorization", "")
            parts = urlsplit(self.path)
            if parts.path == "/token":
                asked.append((self.command, parse_qs(parts.query or body), sent))
                self.answer(200, json.dumps({"access_token": settings["valid"]}).encode())
            elif sent != f"Bearer {settings['valid']}":
                challenge = f'Bearer realm="{settings["realm"]}",service="s",scope="repository:mill:pull"'
                self.answer(401, WWW_Authenticate=challenge)
            else:
                self.answer(200, b'{"tags": ["stable"]}')

        do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = f"127.0.0.1:{server.server_address[1]}"
    settings["realm"] = f"http://{host}/token"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield host, asked, settings
    server.shutdown()
    server.server_close()


def listed(host: str) -> bool:
    registry = transport.Transport(host, "mill")
    return registry.send("GET", "tags/list", expected=(200,)).json() == {"tags": ["stable"]}


def test_anonymous_registry_gives_a_token_to_nobody(tokens: Any) -> None:
    host, asked, _ = tokens
    assert listed(host)
    assert asked == [("GET", {"service": ["s"], "scope": ["repository:mill:pull"]}, "")]


def test_token_is_asked_for_with_the_credentials_and_again_when_it_expires(tokens: Any, nobody: Path) -> None:
    host, asked, settings = tokens
    (nobody / "config.json").write_text(config(host))
    registry = transport.Transport(host, "mill")
    registry.send("GET", "tags/list", expected=(200,))
    registry.send("GET", "tags/list", expected=(200,))
    assert [sent.partition(" ")[0] for *_, sent in asked] == ["Basic"]
    settings["valid"] = "second"
    registry.send("GET", "tags/list", expected=(200,))
    assert len(asked) == 2


def test_identity_token_is_exchanged(tokens: Any, nobody: Path) -> None:
    host, asked, _ = tokens
    (nobody / "config.json").write_text(json.dumps({"auths": {host: {"identitytoken": "refresh-me"}}}))
    assert listed(host)
    ((method, form, sent),) = asked
    assert (method, form["grant_type"], form["refresh_token"], sent) == ("POST", ["refresh_token"], ["refresh-me"], "")


def test_credentials_are_not_sent_to_a_token_server_without_tls(tokens: Any, nobody: Path) -> None:
    host, asked, settings = tokens
    (nobody / "config.json").write_text(config(host))
    settings["realm"] = "http://tokens.example.com/token"
    with pytest.raises(StorageError, match=r"sends credentials to a server without TLS .*found: http://tokens\.exampl"):
        listed(host)
    assert asked == []


def test_device_signs_in_in_the_same_way(tokens: Any, nobody: Path) -> None:
    host, asked, settings = tokens

    def status() -> int:
        reader = OciReader(f"oci://{host}/mill", Network())
        return int(reader.file(f"oci://{host}/mill/phone/shoes/blobs/sha256:0", {}).status)

    assert status() == 200
    (nobody / "config.json").write_text(config(host))
    assert status() == 200
    (nobody / "config.json").write_text(json.dumps({"auths": {host: {"identitytoken": "refresh-me"}}}))
    assert status() == 200
    assert [(method, sent.partition(" ")[0]) for method, _, sent in asked] == [
        ("GET", ""),
        ("GET", "Basic"),
        ("POST", ""),
    ]
    settings["realm"] = "http://tokens.example.com/token"
    with pytest.raises(OSError, match="an unsupported way to sign in: bearer http://tokens"):
        status()
    assert len(asked) == 3
