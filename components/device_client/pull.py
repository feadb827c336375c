"""One update of a device: fetch, verify, switch, test, and switch back if the test fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import zlib
from contextlib import suppress
from dataclasses import dataclass

from components.core.files import sha256_of_bytes
from components.device_client.errors import AlarmError, SelfTestError, UnreachableError
from components.device_client.folder import MODEL_NAME, MOST_FAILURES, DeviceFolder
from components.device_client.settings import Settings
from components.device_client.trusted import Source
from components.trust.rollout import ReleaseRef, choose
from components.trust.statement import contradiction

_VERSION = re.compile(r"[0-9a-f]{16}")
_FILES = (MODEL_NAME, f"{MODEL_NAME}.gz")


@dataclass(frozen=True)
class Update:
    """The result of an update.

    Attributes:
        version: The version that the device runs now; None if it has none.
        before: The version before the update.
        restored: Whether the installed model was damaged, and was fetched again.
        warning: Something that needs attention although the update succeeded.
    """

    version: str | None
    before: str | None
    warning: str | None = None
    restored: bool = False

    def __str__(self) -> str:
        if self.version is None:
            return "the channel has no release for this device yet"
        if self.restored:
            return f"{self.version}: its file was damaged, and was restored"
        if self.version == self.before:
            return f"{self.version}: nothing new"
        return f"{self.version}: installed{f', was {self.before}' if self.before else ''}"


def pull(folder: DeviceFolder, *, retry: bool = False) -> Update:
    """Update the device to the release that its channel assigns to it.

    Args:
        folder: The device's folder.
        retry: Whether to try versions again that failed the self-test.

    Raises:
        DeviceError: The model is unchanged. The class says why.
    """
    settings = folder.settings()
    try:
        with folder.locked():
            folder.recover()
            if retry:
                folder.forget_failures()
            return _pull(folder, settings)
    except OSError as error:
        raise UnreachableError(
            f"the folder of the device cannot be used: {error.strerror or error}; the device keeps its model",
            where=str(error.filename or folder.path),
            remedy="free up some space or grant access; then pull again",
        ) from error


def _pull(folder: DeviceFolder, settings: Settings) -> Update:
    source, before = Source(folder, settings), folder.version()
    state = source.state()
    release, warning = choose(state, settings.device_id, before), source.clock_warning()
    if release is None:
        return Update(before, before, warning or _unassigned(before))
    _check_release(release, settings)
    role = source.role_file(state, release) if settings.gateway else None
    if release.version == before:
        # A bit of the stored model can have flipped since it was installed.
        damaged = not folder.holds(before, release.sha256)
        if damaged:
            folder.restore(before, _model(source.fetch(release), release))
        if role is not None:
            folder.keep_role(before, role)
        return Update(before, before, warning, damaged)
    if folder.failures(release.version) >= MOST_FAILURES:
        raise SelfTestError(
            "this release failed the self-test before; the device keeps its model",
            where=release.version,
            remedy="roll the release back, or pull with --retry",
        )
    if not folder.holds(release.version, release.sha256):
        model = _model(source.fetch(release), release)
        folder.install(release.version, model, {"version": release.version, "statement": release.statement})
    if role is not None:
        folder.keep_role(release.version, role)
    folder.begin_trial(release.version)
    if settings.self_test and (reason := _failure(folder, settings, release)):
        returned = folder.return_from_trial(MOST_FAILURES)
        raise SelfTestError(
            f"the new release failed the self-test, and the device returned to {returned or 'having no model'}",
            where=release.version,
            bound="exit status 0, and an unchanged model",
            measured=reason,
            remedy="roll the release back: edgemill registry rollback",
        )
    folder.end_trial()
    return Update(release.version, before, warning)


def _unassigned(running: str | None) -> str | None:
    """The warning of a device that no release is for any more, such as after the rollback of the only roll-out."""
    if running is None:
        return None
    return (
        f"the channel has no release for this device; it keeps {running}. Remedy: give all devices a release:"
        " edgemill registry promote --percent 100"
    )


def _failure(folder: DeviceFolder, settings: Settings, release: ReleaseRef) -> str | None:
    """Run the self-test; return why it failed, or None."""
    command = [*settings.self_test, str(folder.path / "current" / MODEL_NAME)]
    try:
        # A separate process group, so that the processes that the program started end with it.
        test = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except (OSError, ValueError) as error:
        return f"it could not be started: {getattr(error, 'strerror', None) or error}"
    try:
        status = test.wait(settings.self_test_seconds)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(test.pid, signal.SIGKILL)
        test.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"still running after {settings.self_test_seconds:g} s"
        raise
    if status < 0:
        return f"ended by signal {-status}"
    if status > 0:
        return f"exit status {status}"
    return None if folder.holds(release.version, release.sha256) else "the self-test changed the model"


def _model(content: bytes, release: ReleaseRef) -> bytes:
    """The model from its verified file. Never more than the signed number of bytes are decompressed."""
    if release.file != MODEL_NAME:
        try:
            content = zlib.decompressobj(31).decompress(content, release.bytes + 1)
        except zlib.error as error:
            raise _unsound(release, f"its file is not gzip: {error}") from error
    if (len(content), sha256_of_bytes(content)) != (release.bytes, release.sha256):
        raise _unsound(release, "its file has a different content than the model")
    return content


def _check_release(release: ReleaseRef, settings: Settings) -> None:
    """Refuse names that could lead to other locations, and statements about other files, even if they are signed."""
    if not _VERSION.fullmatch(release.version) or not release.sha256.startswith(release.version):
        raise _unsound(release, "its version is not the beginning of its digest")
    if release.file not in _FILES:
        raise _unsound(release, f"its file is {release.file!r}")
    subjects = {MODEL_NAME: release.sha256, release.file: release.file_sha256}
    about = {"device_class": settings.device_class, "name": settings.name}
    if (found := contradiction(release.statement, subjects, about)) is not None:
        raise _unsound(release, found)


def _unsound(release: ReleaseRef, what: str) -> AlarmError:
    return AlarmError(
        f"the release is signed, but {what}; the device keeps its model",
        where=release.version,
        remedy="find out who signed it; rotate the key of the channel",
    )
