"""The folder of a device.

    device.json, root.json     settings, and the root that the device trusts from the start
    metadata/                  the signed metadata that was verified last, which later ones must not be older than
    models/<version>/          a model and what is signed about it; in a gateway, also the role file
    current, previous          links to two of them; programs read current/model.tflite
    trial.json                 there while the self-test runs; after a crash, the device returns to the previous model
    failures.json              how often a version failed

Every file and link is replaced by one rename.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.core.files import sha256_of, sync_folder, write_atomically
from components.device_client.errors import SettingsError, UnreachableError
from components.trust.names import CHANNELS

MODEL_NAME, RELEASE_NAME, ROLE_NAME = "model.tflite", "release.json", "role.bin"
CURRENT, PREVIOUS = "current", "previous"
# A failed self-test counts as this many failures, an interrupted one as a single failure.
MOST_FAILURES = 2


@dataclass(frozen=True)
class Settings:
    """What a device follows.

    Attributes:
        url: Address of the registry's root over HTTP, or `oci://HOST/PREFIX`.
        device_class, name, channel: The channel.
        device_id: Text that identifies the device; it decides when a staged roll-out reaches it.
        self_test: Program and arguments. It gets the path of the model as its last argument.
        self_test_seconds: Time limit of the self-test.
        gateway: Whether the device passes the model on to microcontrollers, with its role file.
    """

    url: str
    device_class: str
    name: str
    channel: str
    device_id: str
    self_test: tuple[str, ...] = ()
    self_test_seconds: float = 300.0
    gateway: bool = False


class DeviceFolder:
    """The folder, and the changes that an update makes in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata, self.models, self.downloads = path / "metadata", path / "models", path / "downloads"

    def create(self, settings: Settings, root: bytes) -> None:
        """Write the settings and the trusted root."""
        if settings.channel not in CHANNELS:
            raise SettingsError(
                "there is no such channel",
                bound=f"one of {', '.join(CHANNELS)}",
                measured=settings.channel,
                remedy="name another --channel",
            )
        if (self.path / "device.json").exists():
            raise SettingsError(
                "this folder is already that of a device",
                where=str(self.path),
                remedy="use it, or name another folder",
            )
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "root.json", root)
        write_atomically(self.path / "device.json", json.dumps(asdict(settings), indent=2).encode() + b"\n")

    def settings(self) -> Settings:
        """Read the settings."""
        try:
            value = json.loads((self.path / "device.json").read_bytes())
            return Settings(**{**value, "self_test": tuple(value["self_test"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SettingsError(
                f"the settings of the device cannot be read: {error}",
                where=str(self.path),
                bound="a folder that `edgemill-device init` made",
                remedy="run `edgemill-device init`",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep two updates apart."""
        with (self.path / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UnreachableError(
                    "another update is running", where=str(self.path), remedy="wait until it ends"
                ) from error
            yield

    def version(self, link: str = CURRENT) -> str | None:
        """The version that a link leads to, or None if there isn't one."""
        try:
            return (self.path / link).readlink().name
        except OSError:
            return None

    def holds(self, version: str, sha256: str) -> bool:
        """Whether the folder has the unchanged model of a version."""
        path = self.models / version / MODEL_NAME
        return path.is_file() and sha256_of(path) == sha256

    def install(self, version: str, model: bytes, release: dict[str, Any]) -> None:
        """Add a model. It isn't used before `switch`."""
        final, staging = self.models / version, self.models / f".new-{version}"
        for leftover in (staging, final):
            shutil.rmtree(leftover, ignore_errors=True)
        staging.mkdir(parents=True)
        write_atomically(staging / MODEL_NAME, model)
        write_atomically(staging / RELEASE_NAME, json.dumps(release, indent=2).encode() + b"\n")
        staging.rename(final)
        sync_folder(self.models)

    def keep_role(self, version: str, role: bytes) -> None:
        """Write the role file of an installed model if it is another one. A later state of a channel has a new one."""
        path = self.models / version / ROLE_NAME
        if not path.is_file() or path.read_bytes() != role:
            write_atomically(path, role)

    def begin_trial(self, version: str) -> None:
        """Switch to a version. If the trial doesn't end, `recover` returns to the one before."""
        before = self.version()
        trial = {"version": version, "before": before}
        write_atomically(self.path / "trial.json", json.dumps(trial).encode())
        if before is not None:
            self._link(PREVIOUS, before)
        self._link(CURRENT, version)

    def end_trial(self) -> None:
        """Keep the version, and remove the models that no link leads to."""
        (self.path / "trial.json").unlink()
        sync_folder(self.path)
        kept = {self.version(), self.version(PREVIOUS)}
        for path in self.models.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def return_from_trial(self, failures: int) -> str | None:
        """Return to the version before the trial, and count the failures. Return that version."""
        trial = json.loads((self.path / "trial.json").read_bytes())
        counts = {**self._failures(), trial["version"]: self.failures(trial["version"]) + failures}
        write_atomically(self.path / "failures.json", json.dumps(counts).encode())
        if trial["before"] is not None:
            self._link(CURRENT, trial["before"])
        else:
            (self.path / CURRENT).unlink(missing_ok=True)
        (self.path / "trial.json").unlink()
        sync_folder(self.path)
        return self.version()

    def recover(self) -> None:
        """Return from a trial that a crash ended."""
        if (self.path / "trial.json").exists():
            self.return_from_trial(1)

    def failures(self, version: str) -> int:
        """How often a version failed."""
        return self._failures().get(version, 0)

    def forget_failures(self) -> None:
        """Give every version another chance."""
        (self.path / "failures.json").unlink(missing_ok=True)

    def _failures(self) -> dict[str, int]:
        try:
            return dict(json.loads((self.path / "failures.json").read_bytes()))
        except FileNotFoundError:
            return {}

    def _link(self, name: str, version: str) -> None:
        temporary = self.path / f".{name}.new"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.join("models", version))  # noqa: PTH118
        temporary.replace(self.path / name)
        sync_folder(self.path)
