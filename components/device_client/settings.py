"""The settings of a device, and their checks."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from components.device_client.errors import SettingsError
from components.trust.names import CHANNELS

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
_SCHEMES = ("https", "http", "oci")
_LONGEST_ID = 1_000


@dataclass(frozen=True)
class Settings:
    """The settings of a device.

    Attributes:
        url: Address of the registry's root over HTTP, or `oci://HOST/PREFIX`.
        device_class, name, channel: The channel.
        device_id: Text that identifies the device; it determines when a staged roll-out reaches the device.
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

    def check(self) -> None:
        """Raise a SettingsError for the first value that can't be used."""
        if self.channel not in CHANNELS:
            raise _wrong("--channel", f"one of {', '.join(CHANNELS)}", self.channel, "choose another channel")
        for option, value in (("--device-class", self.device_class), ("--name", self.name)):
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                bound = "lowercase letters, digits, hyphens, and underscores, as in the registry"
                raise _wrong(option, bound, value, "name it as the registry does")
        if not isinstance(self.device_id, str) or not _is_id(self.device_id):
            # Devices without their own ID would all get a staged roll-out at the same time, or none of them.
            bound = f"1 to {_LONGEST_ID:,} printable characters that only this device has"
            raise _wrong("--device-id", bound, self.device_id, "take a serial number or the machine ID")
        if (problem := _problem_of_url(self.url)) is not None:
            # The address can contain a password, so it isn't repeated.
            raise _wrong("--url", "https://HOST/PATH, http://HOST/PATH, or oci://HOST/PREFIX", problem, "correct it")
        seconds = self.self_test_seconds
        if not isinstance(seconds, int | float) or not (math.isfinite(seconds) and seconds > 0):
            raise _wrong("--self-test-seconds", "a number of seconds above 0", seconds, "correct it")
        if not all(isinstance(one, str) for one in self.self_test) or not isinstance(self.gateway, bool):
            raise _wrong(
                "device.json", "a list of texts in self_test, and true or false in gateway", "others", "fix it"
            )


def settings_from(value: Any) -> Settings:
    """The settings in a JSON value.

    Raises:
        SettingsError: One of them can't be used.
        TypeError, KeyError, AttributeError: The value has a different structure.
    """
    known = {one.name for one in fields(Settings)}
    given = {name: one for name, one in value.items() if name in known}
    settings = Settings(**{**given, "self_test": tuple(value["self_test"])})
    settings.check()
    return settings


def _is_id(text: str) -> bool:
    # Unprintable characters include bytes of the command line that aren't text.
    return bool(text.strip()) and text.isprintable() and len(text) <= _LONGEST_ID


def _problem_of_url(url: object) -> str | None:
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        return "characters that an address can't have"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # Both are checked only when they are read.
    except ValueError:
        return "no address"
    if parts.scheme not in _SCHEMES:
        return f"the scheme {parts.scheme[:20]!r}"
    if not host:
        return "no host"
    if "@" in parts.netloc:
        return "a user or a password"
    if parts.query or parts.fragment:
        return "a query or a fragment, which can't precede the path of a file"
    if parts.scheme == "oci" and not parts.path.strip("/"):
        return "no prefix after the host"
    return None


def _wrong(where: str, bound: str, measured: object, remedy: str) -> SettingsError:
    text = str(measured)[:80] or "nothing"
    shown = text if text.isprintable() else ascii(text)
    return SettingsError("this value cannot be used", where=where, bound=bound, measured=shown, remedy=remedy)
