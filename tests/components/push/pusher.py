"""Pushes in their own processes. Run as a script, it forks a process for each line of JSON, and reports in lines.

Forked, because an import of the clients takes longer than all the pushes of a test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from components.core.errors import EdgemillError
from tests.components.push.places import MODEL, Place, manifest_of
from tests.processes import LIMIT_SECONDS, running

# The server of the tests answers at once.
QUICK = {"WRITE_SECONDS": 0.3, "WAIT_SECONDS": 0.4, "_PAUSE_SECONDS": 0.05, "LEASE_SECONDS": 4.0}
# Of all tests of a file, also in the lane.
_LONGEST_SECONDS = 2 * 3600.0
# What changes files, as Python's audit hooks name it.
_STEPS = {"open", "os.mkdir", "os.rename", "os.chmod", "os.remove", "os.rmdir", "os.truncate"}


def endless_model(process: int, number: int) -> bytes:
    """The model that a process without an end publishes as this one; each second is that of all processes."""
    return MODEL + (process if number % 2 else 0).to_bytes(4, "big") + number.to_bytes(4, "big")


class Pushers:
    """The forking process.

    Attributes:
        said: What the processes said, in order, each one of `pid`, `acknowledged`, `error`, `done`, `ended`.
    """

    def __init__(self, process: subprocess.Popen[str], go: Path) -> None:
        self._process, self._go = process, go
        self.said: list[dict[str, Any]] = []

    def prepare(
        self, place: Place, models: Sequence[bytes] = (), kill_at: int | None = None, collect: int = 0, keep: int = 0
    ) -> dict[str, Any]:
        """Fork a process that waits for `start`, and then pushes models, or collects garbage so often.

        With `kill_at`, its end is said, too, and it kills itself at the file operation of this number; -1 means
        never. A collection has no grace period, and keeps as many releases of a place as `keep` says; 0 is all.
        """
        request = {
            "kind": type(place.spec).__name__,
            "spec": place.spec.model_dump(),
            "models": [model.hex() for model in models],
            "go": str(self._go),
            "kill_at": kill_at,
            "collect": collect,
            "keep": keep or None,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self.until("pid")

    def prepare_signed(self, place: Place, keys: Path, what: str, model: bytes, kill_at: int = -1) -> int:
        """Fork a process that waits for `start`, and then changes a signed registry.

        It pushes a model to the stable channel, promotes its release there, rolls back, pauses, signs everything again,
        replaces the key of the timestamp, or signs an unsigned registry. With `kill_at`, it kills itself at the file
        operation of this number. Its end is said. Returns its process ID.
        """
        request = {
            "kind": type(place.spec).__name__,
            "spec": place.spec.model_dump(),
            "models": [model.hex()],
            "go": str(self._go),
            "kill_at": kill_at,
            "change": what,
            "keys": str(keys),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self.until("pid")["pid"])

    def prepare_endless(self, place: Place, number: int, keys: Path | None) -> int:
        """Fork a process that waits for `start`, and then publishes until `stop`. Returns its process ID.

        Each second model is that of every such process; the others are those of its number. With `keys`, the
        registry is signed. Its end is said.
        """
        request = {
            "kind": type(place.spec).__name__,
            "spec": place.spec.model_dump(),
            "go": str(self._go),
            "kill_at": -1,
            "endless": number,
            "keys": str(keys or ""),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self.until("pid")["pid"])

    def start(self) -> None:
        self._go.touch()

    def stop(self) -> None:
        """Let processes that publish without an end finish what they publish."""
        _stop_of(self._go).touch()

    def until(self, what: str, times: int = 1) -> dict[str, Any]:
        """Wait until `what` was said so often; returns the last one."""
        assert self._process.stdout is not None
        timer = threading.Timer(LIMIT_SECONDS, os.killpg, (self._process.pid, signal.SIGKILL))
        timer.daemon = True
        timer.start()
        try:
            while True:
                line = self._process.stdout.readline()
                assert line, f"the pushing processes have ended, or didn't say {what!r} for {LIMIT_SECONDS:g} s"
                self.said.append(json.loads(line))
                times -= what in self.said[-1]
                if not times:
                    return self.said[-1]
        finally:
            timer.cancel()

    def acknowledged(self) -> list[str]:
        """The versions whose pushes returned."""
        return [line["acknowledged"] for line in self.said if "acknowledged" in line]

    def rest(self) -> None:
        """Forget what was said, and let the next processes wait again."""
        self.said.clear()
        self._go.unlink(missing_ok=True)
        _stop_of(self._go).unlink(missing_ok=True)


@contextmanager
def pushers(folder: Path) -> Iterator[Pushers]:
    """The forking process, with the environment of now."""
    command = [sys.executable, "-m", "tests.components.push.pusher"]
    with running(command, _LONGEST_SECONDS, stdin=subprocess.PIPE, cwd=Path.cwd()) as process:
        yield Pushers(process, folder / "go")


def _stop_of(go: Path) -> Path:
    return go.with_name("stop")


def _say(**what: Any) -> None:
    # One system call, so that the lines of several processes don't mix.
    os.write(1, json.dumps(what).encode() + b"\n")


def _counted(request: dict[str, Any]) -> list[str]:
    """Kill this process at a file operation; returns those that it has carried out."""
    steps: list[str] = []

    def count(event: str, arguments: Any) -> None:
        if event in _STEPS:
            if len(steps) == request["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
            steps.append(event)

    if request["kill_at"] is not None and request["kill_at"] >= 0:
        sys.addaudithook(count)
    return steps


def _push(request: dict[str, Any]) -> None:
    spec = getattr(registry, request["kind"]).model_validate(request["spec"])
    place = Place(spec, None)  # type: ignore[arg-type]
    _say(pid=os.getpid())
    while not Path(request["go"]).exists():
        time.sleep(0.002)
    steps = _counted(request)
    for _ in range(request["collect"]):
        try:
            done = collect(str(place.spec.root), Retention(keep_last=request["keep"]), 0.0)
            _say(collected=[one.where for one in done.removed])
        except EdgemillError as error:
            _say(error=str(error))
    for model in map(bytes.fromhex, request["models"]):
        try:
            opened = place.open()
            release = opened.put("phone", "shoes", model, manifest_of(model))
            opened.commit(release)
            _say(acknowledged=release.version)
        except EdgemillError as error:
            _say(error=str(error))
    _say(done=len(steps))


def _publish_on(request: dict[str, Any]) -> None:
    """Publish model after model, until `stop`."""
    place, go = Place(getattr(registry, request["kind"]).model_validate(request["spec"]), None), Path(request["go"])  # type: ignore[arg-type]
    _say(pid=os.getpid())
    while not go.exists():
        time.sleep(0.002)
    number = 0
    with mock.patch.multiple(oci_store, **QUICK), mock.patch.dict(os.environ, {VARIABLE: request["keys"]}):
        while not _stop_of(go).exists():
            model = endless_model(request["endless"], number)
            try:
                publish([place.spec], "phone", "shoes", model, manifest_of(model))
                _say(acknowledged=sha256_of_bytes(model)[:16])
            except EdgemillError as error:
                _say(error=str(error))
                return
            number += 1


def _change(request: dict[str, Any]) -> None:
    """Change a signed registry."""
    place = Place(getattr(registry, request["kind"]).model_validate(request["spec"]), None)  # type: ignore[arg-type]
    model = bytes.fromhex(request["models"][0])
    _say(pid=os.getpid())
    while not Path(request["go"]).exists():
        time.sleep(0.002)
    address, stable = f"{signed.normal(place.root)}/phone/shoes", "stable"
    known = {} if request["change"] == "sign" else {VARIABLE: request["keys"]}
    steps = _counted(request)
    with mock.patch.multiple(oci_store, **QUICK), mock.patch.dict(os.environ, known):
        try:
            match request["change"]:
                case "push":
                    publish([place.spec], "phone", "shoes", model, manifest_of(model))
                case "sign":
                    sign(place.root, Path(request["keys"]))
                case "promote":
                    signed.promote(f"{address}/{sha256_of_bytes(model)[:16]}", stable, rollout.FULL_SHARE)
                case "rollback":
                    signed.change(address, stable, rollout.rolled_back, "rollback")
                case "pause":
                    signed.change(address, stable, rollout.paused, "pause")
                case "refresh":
                    setup.renew(_opened(place), force=True)
                case "rotate":
                    setup.rotate(_opened(place), "timestamp")
        except EdgemillError as error:
            _say(error=str(error))
    _say(done=len(steps))


def _opened(place: Place) -> SignedRegistry:
    registry = signed.open_signed(place.root)
    assert registry is not None
    return registry


def _say_end(child: int) -> None:
    os.waitpid(child, 0)
    _say(ended=True)


if __name__ == "__main__":
    from components.core.files import sha256_of_bytes
    from components.object_store.bucket import is_address
    from components.object_store.clients import bucket_of
    from components.push import folder, object_registry, signed  # noqa: F401
    from components.push.oci import registry as oci  # noqa: F401
    from components.push.several import publish
    from components.push.upkeep.collect import collect
    from components.push.upkeep.convert import sign
    from components.push.upkeep.retention import Retention
    from components.spec import registry
    from components.trust import oci_store, rollout, setup
    from components.trust.keys import VARIABLE
    from components.trust.repository import SignedRegistry

    for line in sys.stdin:
        root = json.loads(line)["spec"]["root"]
        if is_address(root):
            bucket_of(root)  # A client takes long to create, so all processes inherit one.
        child = os.fork()
        if not child:
            asked = json.loads(line)
            (_change if "change" in asked else _publish_on if "endless" in asked else _push)(asked)
            os._exit(0)
        # A killed process says nothing itself.
        if json.loads(line)["kill_at"] is not None:
            threading.Thread(target=_say_end, args=(child,)).start()
