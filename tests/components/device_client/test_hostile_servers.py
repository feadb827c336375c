"""Servers that want a device to wait, to fill its memory, or to go elsewhere, so that it raises no alarm."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler

import pytest

from components.device_client import network
from components.device_client.errors import AlarmError, UnreachableError
from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from tests.components.device_client.fleet import NEW, OLD, Fleet, clock, fleet_in, model_of

Hostile = Callable[[BaseHTTPRequestHandler], None]
# More than any pull of these tests takes, but less than what the servers ask for.
PATIENCE = 20.0


@pytest.fixture
def device(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> DeviceFolder:
    monkeypatch.setattr(network, "CHUNK_SECONDS", 0.5)
    fleet.push(OLD)
    device = fleet.device()
    pull(device)
    fleet.push(NEW)
    return device


def answer(handler: BaseHTTPRequestHandler, status: int, content: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {**headers, "Content_Length": str(len(content))}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def come_back_later(handler: BaseHTTPRequestHandler) -> None:
    answer(handler, 503, Retry_After="100000")


def trickle(handler: BaseHTTPRequestHandler, piece: bytes) -> None:
    while True:
        handler.wfile.write(piece)
        time.sleep(0.1)


def send_byte_by_byte(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    trickle(handler, b" ")


def send_an_endless_header(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    trickle(handler, b"x")


def continue_forever(handler: BaseHTTPRequestHandler) -> None:
    trickle(handler, b"HTTP/1.1 100 Continue\r\n\r\n")


def redirect_with_an_endless_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65_536)


def redirect(to: str) -> Hostile:
    return lambda handler: answer(handler, 302, Location=to or handler.path)


SLOW = "fewer than 4,096 bytes arrived in"


@pytest.mark.parametrize(
    ("where", "attack", "said"),
    [
        *((where, come_back_later, "status 503") for where in ("timestamp.json", "2.root.json", ".gz")),
        *((where, send_byte_by_byte, SLOW) for where in ("timestamp.json", "2.root.json", ".gz")),
        *((where, send_an_endless_header, SLOW) for where in ("timestamp.json", ".gz")),
        ("timestamp.json", continue_forever, SLOW),
        ("timestamp.json", redirect_with_an_endless_body, "redirects more than 5 times"),
        (".gz", redirect(""), "redirects more than 5 times"),
        ("timestamp.json", redirect("file:///etc/passwd"), "redirects from http to file"),
        (".gz", redirect("http://[::bad"), "redirects to an invalid address"),
        (".gz", redirect("http://127.0.0.1:1/"), "Connection refused"),
    ],
)
def test_device_gives_up_soon_and_alarms_when_the_registry_has_expired(
    fleet: Fleet, device: DeviceFolder, where: str, attack: Hostile, said: str
) -> None:
    def hostile(handler: BaseHTTPRequestHandler) -> bool:
        if handler.path.endswith(where):
            attack(handler)
        return handler.path.endswith(where)

    fleet.server.hostile = hostile
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=f"cannot be reached: .*{said}"):
        pull(device)
    if attack is come_back_later:
        with clock(timedelta(days=8)), pytest.raises(AlarmError, match="has expired"):
            pull(device)
    assert time.monotonic() - began < PATIENCE
    assert model_of(device) == OLD
    fleet.server.hostile = lambda handler: False
    pull(device)
    assert model_of(device) == NEW


@pytest.mark.parametrize("where", ["timestamp.json", ".gz"])
def test_answer_that_grows_when_it_is_decompressed_is_not_decompressed(
    fleet: Fleet, device: DeviceFolder, where: str
) -> None:
    bomb = zlib.compressobj(9, wbits=31)
    content = b"".join([bomb.compress(bytes(1_000_000)) for _ in range(50)]) + bomb.flush()

    def hostile(handler: BaseHTTPRequestHandler) -> bool:
        if handler.path.endswith(where):
            answer(handler, 200, content, Content_Encoding="gzip")
        return handler.path.endswith(where)

    fleet.server.hostile = hostile
    with pytest.raises(AlarmError, match=r"Downloaded (20480|4096) bytes exceeding the maximum allowed length"):
        pull(device)
    assert model_of(device) == OLD


def test_compressed_model_that_a_server_calls_compressed_is_installed(fleet: Fleet, device: DeviceFolder) -> None:
    """Some servers say `Content-Encoding: gzip` about every file whose name ends in .gz."""

    def hostile(handler: BaseHTTPRequestHandler) -> bool:
        if is_model := handler.path.endswith(".gz"):
            answer(handler, 200, (fleet.root / handler.path.lstrip("/")).read_bytes(), Content_Encoding="gzip")
        return is_model

    fleet.server.hostile = hostile
    pull(device)
    assert model_of(device) == NEW


def test_slow_link_is_used_as_long_as_each_chunk_arrives_in_time(fleet: Fleet, device: DeviceFolder) -> None:
    def hostile(handler: BaseHTTPRequestHandler) -> bool:
        if not handler.path.endswith("timestamp.json"):
            return False
        content = (fleet.root / "_tuf/timestamp.json").read_bytes()
        handler.send_response(200)
        handler.end_headers()
        for start in range(0, len(content), 100):
            handler.wfile.write(content[start : start + 100])
            time.sleep(0.01)
        return True

    fleet.server.hostile = hostile
    pull(device)
    assert model_of(device) == NEW


def test_messages_hold_no_control_characters_of_the_server(fleet: Fleet, device: DeviceFolder) -> None:
    def hostile(handler: BaseHTTPRequestHandler) -> bool:
        handler.wfile.write(b"HTTP/1.1 2\x1b[2J OK" + b"\x07" * 5_000 + b"\r\n\r\n")
        return True

    fleet.server.hostile = hostile
    with pytest.raises(UnreachableError) as caught:
        pull(device)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1_200


def test_file_that_was_replaced_between_two_attempts_is_fetched_again_without_an_alarm(
    fleet: Fleet, device: DeviceFolder
) -> None:
    fleet.server.cut = 20_000  # Metadata is short enough.
    version = fleet.push(os.urandom(30_000))
    # What was fetched is the beginning of another file.
    with pytest.raises(UnreachableError):
        pull(device)
    fleet.server.cut = -1
    (part,) = device.downloads.glob("*.part")
    part.write_bytes(bytes(len(part.read_bytes())))
    assert pull(device).version == version


NOT_TOKENS = (b"", b"[]", b"{}", b'{"token": 5', b'{"token": "a\\r\\nX: b"}', b"[" * 90_000, b'{"token": "\xc3\xa9"}')


@pytest.mark.parametrize("token", [*NOT_TOKENS, None])
def test_server_of_tokens_that_sends_none_keeps_the_model(
    fleet: Fleet, device: DeviceFolder, token: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OCI registry that asks to sign in, and a token server whose answer is no token, or has no end (None)."""
    monkeypatch.setenv("DOCKER_CONFIG", str(fleet.folder))
    host = fleet.server.url.removeprefix("http://")
    settings = json.loads((device.path / "device.json").read_bytes())
    (device.path / "device.json").write_text(json.dumps({**settings, "url": f"oci://{host}/models"}))

    def hostile(handler: BaseHTTPRequestHandler) -> bool:
        if not handler.path.startswith("/token"):
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", f'Bearer realm="{fleet.server.url}/token",service="x"')
            handler.end_headers()
            trickle(handler, b" " * 65_536)  # An endless page about the error.
        if token is not None:
            answer(handler, 200, token)
        else:
            handler.send_response(200)
            handler.end_headers()
            while True:
                handler.wfile.write(b" " * 65_536)
        return True

    fleet.server.hostile = hostile
    with pytest.raises(UnreachableError if token is not None else AlarmError, match="the device keeps its model"):
        pull(device)
    assert model_of(device) == OLD


@pytest.mark.parametrize(
    "challenge", ["Bearer", 'Bearer realm="http://[x"', 'Bearer realm="ftp://host/"', "Digest", 'Bearer realm="/token"']
)
def test_odd_ways_to_sign_in_are_refused(
    fleet: Fleet, device: DeviceFolder, challenge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(fleet.folder))
    host = fleet.server.url.removeprefix("http://")
    settings = json.loads((device.path / "device.json").read_bytes())
    (device.path / "device.json").write_text(json.dumps({**settings, "url": f"oci://{host}/models"}))

    def hostile(handler: BaseHTTPRequestHandler) -> bool:
        answer(handler, 401, WWW_Authenticate=challenge)
        return True

    fleet.server.hostile = hostile
    with pytest.raises(UnreachableError, match=r"sign(ing)? in"):
        pull(device)
    assert model_of(device) == OLD


def test_credentials_stay_with_their_host(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that redirects to another host, as those with blobs in object stores do."""
    seen: list[tuple[str, str | None]] = []
    with fleet_in(fleet.folder / "other") as other:

        def record(handler: BaseHTTPRequestHandler) -> bool:
            seen.append((handler.path, handler.headers.get("Authorization")))
            if handler.path == "/here":
                answer(handler, 307, Location="/there")
            elif handler.path == "/there":
                answer(handler, 307, Location=f"{other.server.url}/elsewhere")
            else:
                answer(handler, 200, b"content")
            return True

        fleet.server.hostile = other.server.hostile = record
        found = network.Network().get(f"{fleet.server.url}/here", {"Authorization": "Basic secret"})
        assert found.content(100) == b"content"
    assert seen == [("/here", "Basic secret"), ("/there", "Basic secret"), ("/elsewhere", None)]


def test_metadata_and_models_go_through_the_proxy_of_the_environment(
    fleet: Fleet, device: DeviceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads((device.path / "device.json").read_bytes())
    (device.path / "device.json").write_text(json.dumps({**settings, "url": "http://registry.invalid"}))
    asked: list[str] = []

    def proxy(handler: BaseHTTPRequestHandler) -> bool:
        asked.append(handler.path)
        handler.path = handler.path.removeprefix("http://registry.invalid")
        return False

    fleet.server.hostile = proxy
    monkeypatch.setenv("http_proxy", fleet.server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    pull(device)
    assert model_of(device) == NEW
    assert all(one.startswith("http://registry.invalid/") for one in asked)
    assert any(one.endswith("timestamp.json") for one in asked) and any(one.endswith(".gz") for one in asked)


def test_device_that_may_not_read_a_bucket_says_what_it_needs(fleet: Fleet, device: DeviceFolder) -> None:
    def forbid(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_error(403)
        return True

    fleet.server.hostile = forbid
    with pytest.raises(UnreachableError, match=r"status 403.*give the device read access to the whole registry"):
        pull(device)
