"""The outcomes of an update, for the device's monitoring."""

from __future__ import annotations

from enum import IntEnum

from components.core.errors import EdgemillError


class DeviceStatus(IntEnum):
    """Exit status of every `edgemill-device` command."""

    OK = 0
    """The device has the release that its channel assigns to it."""
    UNREACHABLE = 1
    """The registry couldn't be reached, or the folder couldn't be written. The model is unchanged. Try again later."""
    BAD_INPUT = 2
    """The command line or the settings are wrong."""
    ALARM = 3
    """The content of the registry is refused: it was changed or replayed, has other signers, or has expired. The model
    is unchanged. Someone must investigate."""
    SELF_TEST_FAILED = 4
    """The new model failed the device's self-test, and the device returned to the previous one."""


class DeviceError(EdgemillError):
    """An update that didn't happen."""

    status = DeviceStatus.UNREACHABLE


class UnreachableError(DeviceError):
    """The registry or the device's folder can't be used now."""


class SettingsError(DeviceError):
    """The settings of the device are wrong."""

    status = DeviceStatus.BAD_INPUT


class AlarmError(DeviceError):
    """The files that the registry serves can't be trusted."""

    status = DeviceStatus.ALARM


class SelfTestError(DeviceError):
    """The model failed the device's self-test."""

    status = DeviceStatus.SELF_TEST_FAILED
