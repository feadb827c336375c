"""A signed registry in a folder, an HTTP server in front of it, and devices that follow it."""

from __future__ import annotations

import datetime as real
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

from securesystemslib.signer import Signer

from components.device_client import trusted
from components.device_client.folder import DeviceFolder
from components.device_client.settings import Settings
from components.push.several import publish
from components.push.signed import open_signed
from components.spec.registry import LocalRegistry
from components.trust.keys import VARIABLE
from components.trust.memory import FOLDER_IN_KEYS
from components.trust.repository import SignedRegistry
from components.trust.setup import create
from components.trust.storage import FolderStore
from tests.components.push.places import manifest_of

OLD, NEW, OTHER = bytes(range(256)) * 8, bytes(range(255, -1, -1)) * 8, b"other" * 500
# More than any metadata or model of the tests may take.
ENDLESS = 50_000_000


class Server:
    """Serves a folder, with ranges.

    Attributes:
        asked: Path, status, and number of bytes of each answer.
        replace: Changes the content of what is served, by path.
        cut: Number of bytes after which connections are cut; -1 for never.
        endless: The end of the paths whose answers never end.
        failing: Whether every answer is the status 503.
        hostile: Sends other answers than this server's. It returns whether it did.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.replace: Callable[[str, bytes], bytes] = lambda path, content: content
        self.cut, self.endless, self.failing = -1, "nothing", False
        self.hostile: Callable[[BaseHTTPRequestHandler], bool] = lambda handler: False
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self, folder)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, folder: Path) -> None:
        try:
            if self.hostile(handler):
                return
        except OSError:
            return  # The device hung up.
        path = folder / handler.path.lstrip("/")
        if self.failing or not path.is_file():
            self.asked.append((handler.path, 503 if self.failing else 404, 0))
            handler.send_error(503 if self.failing else 404)
            return
        content = self.replace(handler.path, path.read_bytes())
        asked = handler.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start and start >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206 if asked else 200)
        endless = handler.path.endswith(self.endless)
        if not endless:
            handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        sent = content[start : None if self.cut < 0 else start + self.cut]
        self.asked.append((handler.path, 206 if asked else 200, len(sent)))
        try:
            handler.wfile.write(sent)
            for _ in range(ENDLESS // 65_536 if endless else 0):
                handler.wfile.write(b" " * 65_536)
        except OSError:
            pass  # The device hung up.


class Fleet:
    """The registry and its server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.keys = folder, folder / "registry", folder / "keys"
        create(str(self.root.resolve()), FolderStore(self.root), self.keys)
        self.server = Server(self.root)
        self._devices = 0

    def push(self, model: bytes, channel: str = "stable", device_class: str = "phone") -> str:
        manifest = manifest_of(model).model_copy(update={"device_class": device_class})
        (release,), signed = publish(
            [LocalRegistry(root=str(self.root), channel=channel)], device_class, "shoes", model, manifest
        )
        assert signed
        return release.version

    def device(self, device_class: str = "phone", channel: str = "stable", **other: Any) -> DeviceFolder:
        self._devices += 1
        folder = DeviceFolder(self.folder / f"device-{self._devices}")
        settings = Settings(self.server.url, device_class, "shoes", channel, "device-1", **other)
        folder.create(settings, (self.keys / "root.json").read_bytes())
        return folder

    def registry(self) -> SignedRegistry:
        registry = open_signed(str(self.root))
        assert registry is not None
        return registry

    def file(self, role: str) -> Path:
        """The file of a role that is in force."""
        found = self.registry().read()
        if role in {"timestamp", "root"}:
            return self.root / "_tuf" / ("timestamp.json" if role == "timestamp" else "1.root.json")
        meta = (
            found.timestamp.signed.snapshot_meta if role == "snapshot" else found.snapshot.signed.meta[f"{role}.json"]
        )
        return self.root / "_tuf" / f"{meta.version}.{role}.json"

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.root, self.folder / name))

    def restore(self, copy: Path) -> None:
        """Put an older copy back, as an attacker with keys who signs on a machine of their own."""
        shutil.rmtree(self.keys / FOLDER_IN_KEYS, ignore_errors=True)
        shutil.rmtree(self.root)
        shutil.copytree(copy, self.root)


class Attacker(SignedRegistry):
    """Has every key that signs online, but signs one role with another key than that of the role."""

    role, signer = "", None

    def signers_of(self, by: Any, role: str) -> list[Signer]:
        return [self.signer] if role == self.role and self.signer else super().signers_of(by, role)


@contextmanager
def fleet_in(folder: Path) -> Iterator[Fleet]:
    with mock.patch.dict(os.environ, {VARIABLE: str(folder / "keys")}):
        fleet = Fleet(folder)
        yield fleet
        fleet.server.close()


@contextmanager
def clock(shift: real.timedelta) -> Iterator[None]:
    """Shifts the clock of devices."""

    class Shifted(real.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.datetime.now(tz) + shift

    class Module:
        datetime, timezone, timedelta = Shifted, real.timezone, real.timedelta

    with (
        mock.patch("tuf.ngclient._internal.trusted_metadata_set.datetime", Module),
        mock.patch("tuf.api._payload.datetime", Shifted),
        mock.patch.object(trusted, "datetime", Shifted),
    ):
        yield


def model_of(device: DeviceFolder) -> bytes | None:
    path = device.path / "current" / "model.tflite"
    return path.read_bytes() if path.exists() else None
