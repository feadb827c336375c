"""The folder of a device.

    device.json, root.json     settings, and the root that the device trusts initially
    metadata/                  the signed metadata that was verified last, which later ones must not be older than
    models/<version>/          a model and its signed metadata; in a gateway, also the role file
    current, previous          links to two of the versions; programs read current/model.tflite
    trial.json                 exists while the self-test runs; after a crash, the device returns to the previous model
    failures.json              how often a version failed
    status.json                how the last pull ended

Every file and link is replaced by one rename.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.core.files import sha256_of, sync_folder, write_atomically
from components.device_client.errors import SettingsError, UnreachableError
from components.device_client.settings import Settings, settings_from

MODEL_NAME, RELEASE_NAME, ROLE_NAME, STATUS_NAME = "model.tflite", "release.json", "role.bin", "status.json"
CURRENT, PREVIOUS = "current", "previous"
# A failed self-test counts as this many failures, an interrupted one as a single failure.
MOST_FAILURES = 2
_VERSION = re.compile(r"[0-9a-f]{16}")


class DeviceFolder:
    """The folder, and the changes that an update makes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata, self.models, self.downloads = path / "metadata", path / "models", path / "downloads"

    def create(self, settings: Settings, root: bytes) -> None:
        """Write the settings and the trusted root.

        Raises:
            SettingsError: A setting can't be used, or the folder already belongs to a device.
        """
        settings.check()
        if (self.path / "device.json").exists():
            raise SettingsError(
                "this folder already belongs to a device",
                where=str(self.path),
                remedy="use it, or choose another folder",
            )
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "root.json", root)
        write_atomically(self.path / "device.json", json.dumps(asdict(settings), indent=2).encode() + b"\n")

    def settings(self) -> Settings:
        """Read the settings."""
        try:
            return settings_from(json.loads((self.path / "device.json").read_bytes()))
        except SettingsError as error:
            raise error.placed(str(self.path / "device.json")) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SettingsError(
                f"the settings of the device cannot be read: {error}",
                where=str(self.path),
                bound="a folder that `edgemill-device init` made",
                remedy="run `edgemill-device init`",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Prevent two updates at the same time."""
        with (self.path / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UnreachableError(
                    "another update is running", where=str(self.path), remedy="wait until it finishes"
                ) from error
            yield

    def version(self, link: str = CURRENT) -> str | None:
        """The version that a link points to, or None if there isn't one, or if it points outside the folder."""
        try:
            target = (self.path / link).readlink()
        except OSError:
            return None
        return target.name if target.parent == Path("models") and _VERSION.fullmatch(target.name) else None

    def holds(self, version: str, sha256: str) -> bool:
        """Whether the folder itself has the unchanged model of a version."""
        path = self.models / version / MODEL_NAME
        if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
            return False
        return sha256_of(path) == sha256

    def install(self, version: str, model: bytes, release: dict[str, Any]) -> None:
        """Add a model. It isn't used until `begin_trial`."""
        final, staging = self.models / version, self.models / f".new-{version}"
        for leftover in (staging, final):
            _remove(leftover)
        staging.mkdir(parents=True)
        write_atomically(staging / MODEL_NAME, model)
        write_atomically(staging / RELEASE_NAME, json.dumps(release, indent=2).encode() + b"\n")
        staging.rename(final)
        sync_folder(self.models)

    def restore(self, version: str, model: bytes) -> None:
        """Replace the damaged model of an installed version. Programs that open it find the old file or the new one."""
        folder = self.models / version
        if folder.is_symlink():
            folder.unlink()
        if (folder / MODEL_NAME).is_dir() and not (folder / MODEL_NAME).is_symlink():
            _remove(folder / MODEL_NAME)
        write_atomically(folder / MODEL_NAME, model)

    def keep_role(self, version: str, role: bytes) -> None:
        """Write the role file of an installed model if it differs. A later state of a channel has a new role file."""
        path = self.models / version / ROLE_NAME
        if not path.is_file() or path.read_bytes() != role:
            write_atomically(path, role)

    def begin_trial(self, version: str) -> None:
        """Switch to a version. If the trial doesn't end, `recover` goes back to the previous version."""
        before = self.version()
        trial = {"version": version, "before": before}
        write_atomically(self.path / "trial.json", json.dumps(trial).encode())
        if before is not None:
            self._link(PREVIOUS, before)
        self._link(CURRENT, version)

    def end_trial(self) -> None:
        """Keep the version, and remove the models that no link points to."""
        (self.path / "trial.json").unlink()
        sync_folder(self.path)
        kept = {self.version(), self.version(PREVIOUS)}
        for path in self.models.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def return_from_trial(self, failures: int) -> str | None:
        """Go back to the version before the trial, and count the failures. Returns that version."""
        version, before = self._trial()
        if version is not None:
            counts = {**self._failures(), version: self.failures(version) + failures}
            write_atomically(self.path / "failures.json", json.dumps(counts).encode())
        if before is not None:
            self._link(CURRENT, before)
        else:
            (self.path / CURRENT).unlink(missing_ok=True)
        (self.path / "trial.json").unlink()
        sync_folder(self.path)
        return self.version()

    def recover(self) -> None:
        """Go back to the previous version if a crash ended the trial."""
        if (self.path / "trial.json").exists():
            self.return_from_trial(1)

    def last_pull(self) -> dict[str, Any] | None:
        """How the last pull ended; None if there was none, or if that can't be read."""
        found = _object(self.path / STATUS_NAME)
        return found if isinstance(found.get("status"), int) else None

    def failures(self, version: str) -> int:
        """The number of failures of a version."""
        return self._failures().get(version, 0)

    def forget_failures(self) -> None:
        """Allow every version to be tried again."""
        (self.path / "failures.json").unlink(missing_ok=True)

    def _trial(self) -> tuple[str | None, str | None]:
        """The version under trial, and the one before. If the file is damaged, the links show them."""
        found = _object(self.path / "trial.json")
        version, before = found.get("version"), found.get("before")
        if _is_version(version) and (before is None or _is_version(before)):
            return version, before
        return self.version(), self.version(PREVIOUS) or self.version()

    def _failures(self) -> dict[str, int]:
        found = _object(self.path / "failures.json")
        return {name: count for name, count in found.items() if _is_version(name) and type(count) is int}

    def _link(self, name: str, version: str) -> None:
        temporary = self.path / f".{name}.new"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.join("models", version))  # noqa: PTH118
        temporary.replace(self.path / name)
        sync_folder(self.path)


def _is_version(value: object) -> bool:
    return isinstance(value, str) and _VERSION.fullmatch(value) is not None


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if the file is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _remove(path: Path) -> None:
    """Remove a folder, or a link to one, if there is one."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
