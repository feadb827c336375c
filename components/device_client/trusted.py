"""The state of the device's channel, verified by the client of The Update Framework."""

from __future__ import annotations

import errno
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import urllib3
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from components.device_client.errors import AlarmError, DeviceError, SettingsError, UnreachableError
from components.device_client.fetcher import ResumingFetcher
from components.device_client.gateway import role_file_of
from components.trust import rollout
from components.trust.names import FOLDER, SIGNED_AT, role_of, target_of
from components.trust.role_file import RoleFileError

if TYPE_CHECKING:
    from components.device_client.folder import DeviceFolder
    from components.device_client.settings import Settings

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
# A device's clock may differ from the clock of the signing machine by this much.
_CLOCK_TOLERANCE = timedelta(hours=1)
_LONGEST_REASON = 300
# Each key set needs at most a few kilobytes.
_LONGEST_ROOT = 65_536
# Each key rotation creates one version. Each version must be signed, so no server can create more of them.
_MOST_ROOTS = 10_000
_KEPT = "the device keeps its model"
_FORBIDDEN = 403
_UNREADABLE = (
    "give the device read access to the whole registry without credentials (for a bucket, with a public policy or a "
    "web server), or correct the address"
)


_CONFIG = UpdaterConfig(prefix_targets_with_hash=False, root_max_length=_LONGEST_ROOT, max_root_rotations=_MOST_ROOTS)


class Source:
    """The registry of a device."""

    def __init__(self, folder: DeviceFolder, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self._url = settings.url.rstrip("/")
        self._fetcher = ResumingFetcher(folder.downloads, self._url, settings.device_class)

    def state(self) -> rollout.ChannelState:
        """Fetch and verify the channel.

        Raises:
            AlarmError: The metadata that the registry serves is refused or expired.
            UnreachableError: The registry can't be reached.
            SettingsError: The root that the device trusts is damaged.
        """
        bootstrap = (self._folder.path / "root.json").read_bytes()
        if (problem := problem_of_root(bootstrap)) is not None:
            raise SettingsError(
                f"the root that this device trusts cannot be used: {problem}",
                where=str(self._folder.path / "root.json"),
                remedy="install the root.json of the registry's keys on the device again",
            )
        where = target_of(self._settings.device_class, self._settings.name, self._settings.channel)
        try:
            self._folder.metadata.mkdir(parents=True, exist_ok=True)
            self._updater = Updater(
                metadata_dir=str(self._folder.metadata),
                metadata_base_url=f"{self._url}/{FOLDER}",
                target_base_url=self._url,
                fetcher=self._fetcher,
                config=_CONFIG,
                bootstrap=bootstrap,
            )
            self._target = target = self._updater.get_targetinfo(where)
        except Exception as error:
            raise self._refused(error) from error
        if target is None:
            raise UnreachableError(
                "the registry has no release for this device",
                where=f"{self._url}: {where}",
                remedy="push to the channel, or correct the settings of the device",
            )
        try:
            state = rollout.from_custom(target.unrecognized_fields.get("custom"))
        except rollout.RolloutError as error:
            raise _alarm(str(error), self._url, "update edgemill-device") from error
        found = (state.device_class, state.name, state.channel)
        if found != (self._settings.device_class, self._settings.name, self._settings.channel):
            raise _alarm(f"the channel belongs to {'/'.join(found)}", self._url, "find out who signed it")
        return state

    def role_file(self, state: rollout.ChannelState, release: rollout.ReleaseRef) -> bytes:
        """Return the role file of a release for microcontrollers. Call `state` before.

        Raises:
            AlarmError: It is signed, but isn't about this release.
            UnreachableError: There is none.
        """
        role = role_of(self._settings.device_class, self._settings.channel)
        try:
            targets = Metadata.from_file(str(self._folder.metadata / "targets.json")).signed
            keys = [targets.get_key(one) for one in targets.get_delegated_role(role).keyids]
            assert self._target is not None
            found = role_file_of(self._target.custom or {}, state, release, keys)
        except RoleFileError as error:
            raise _alarm(
                f"the role file for microcontrollers is refused: {error}", self._url, "find out who signed the channel"
            ) from error
        if found is None:
            raise UnreachableError(
                f"the channel has no role file for microcontrollers; {_KEPT}",
                where=self._url,
                bound="a channel that a P-256 key signed with this version of Edgemill",
                remedy="push or promote a release again; if the key is of another kind, rotate it",
            )
        return found

    def fetch(self, release: rollout.ReleaseRef) -> bytes:
        """Fetch and verify the file of a release, starting where the last attempt ended."""
        place = f"{self._settings.device_class}/{self._settings.name}"
        path = self._fetcher.reader.path_of(place, release.version, release.file, release.file_sha256)
        target = TargetFile(release.file_bytes, {"sha256": release.file_sha256}, path)
        file = self._folder.downloads / "complete"
        try:
            try:
                self._updater.download_target(target, str(file))
            except (RepositoryError, DownloadLengthMismatchError):
                continued = self._fetcher.continued
                self._fetcher.forget()
                if not continued:
                    raise
                # The registry can have replaced the file between two attempts, so that the two parts are from different
                # files.
                self._updater.download_target(target, str(file))
        except Exception as error:
            raise self._refused(error) from error
        content = file.read_bytes()
        self._fetcher.forget()
        file.unlink()
        return content

    def clock_warning(self) -> str | None:
        """A warning if this device's clock is behind the time at which the registry was signed."""
        signed = self._timestamp()
        text = signed.unrecognized_fields.get(SIGNED_AT) if signed else None
        if not isinstance(text, str):
            return None
        try:
            when = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        except ValueError:
            return None
        now = datetime.now(timezone.utc)
        if now + _CLOCK_TOLERANCE >= when:
            return None
        return (
            f"the clock of this device says {now:%Y-%m-%d %H:%M} UTC, but the registry was signed at"
            f" {when:%Y-%m-%d %H:%M} UTC: it detects expiry too late. Set the clock"
        )

    def _timestamp(self) -> Any:
        try:
            return Metadata.from_file(str(self._folder.metadata / "timestamp.json")).signed
        except Exception:
            return None  # The file is missing or damaged.

    def _refused(self, error: Exception) -> DeviceError:
        reason = _printable(error)
        if isinstance(error, ExpiredMetadataError):
            return self._expired(reason)
        if isinstance(error, RepositoryError | DownloadLengthMismatchError):
            return _alarm(
                f"the registry serves something that can't be trusted: {reason}",
                self._url,
                "compare the registry with a copy (edgemill registry status), and find out who changed it",
            )
        if isinstance(error, OSError) and (error.errno in _OF_THE_DISK or error.filename is not None):
            raise error  # `pull` explains it.
        if not isinstance(error, DownloadError | OSError | urllib3.exceptions.HTTPError):
            # An unforeseen answer must not keep the device from raising its alarm.
            return _alarm(
                f"the registry serves something that can't be read: {type(error).__name__}: {reason}",
                self._url,
                "compare the registry with a copy (edgemill registry status), and find out who changed it",
            )
        timestamp = self._timestamp()
        if timestamp is not None and timestamp.is_expired():
            return self._expired(f"it cannot be reached ({reason}), and the metadata that was fetched last is too old")
        cause = f" ({_printable(error.__cause__)})" if isinstance(error.__cause__, Exception) else ""
        return UnreachableError(
            f"the registry cannot be reached: {reason}{cause}; {_KEPT}",
            where=self._url,
            remedy=_UNREADABLE
            if isinstance(error, DownloadHTTPError) and error.status_code == _FORBIDDEN
            else "check the network and the address; the next pull continues where this one ended",
        )

    def _expired(self, reason: str) -> AlarmError:
        now = datetime.now(timezone.utc)
        return _alarm(
            f"the registry has expired: {reason}. The clock of this device says {now:%Y-%m-%d %H:%M} UTC",
            self._url,
            "check the clock; if it is right, run `edgemill registry refresh`, or find out who withholds updates",
        )


def problem_of_root(content: bytes) -> str | None:
    """Return why a file can't be the root that a device trusts, or None."""
    try:
        root = Metadata[Root].from_bytes(content)
        if not isinstance(root.signed, Root):
            return f"it is metadata of the type {root.signed.type}"
        root.verify_delegate("root", root)
    except Exception as error:  # The file can contain anything.
        return f"it is not a root that its own keys signed: {_printable(error)}"
    return None


def _printable(error: BaseException) -> str:
    """The first line of a message, which can quote the server: no control characters, and not too long."""
    text = (str(error).splitlines() or [""])[0] or type(error).__name__
    return "".join(one if one.isprintable() else "?" for one in text[:_LONGEST_REASON])


def _alarm(what: str, where: str, remedy: str) -> AlarmError:
    return AlarmError(f"{what}; {_KEPT}", where=where, remedy=remedy)
