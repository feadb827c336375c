"""Servers that want a device to wait, to fill its memory, or to go elsewhere, so that it raises no alarm."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

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
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with fleet_in(tmp_path) as found:
        yield found


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
        (".gz", redirect("http://[::bad"), "redirects to something that is no address"),
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
