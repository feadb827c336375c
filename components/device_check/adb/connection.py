"""One connected device, through the executable `adb`. Failures are `ToolFailure`s, which include a fix."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from components.device_check.adb.output import exit_status_of, states_of, with_exit_status
from components.facts.device import ToolFailure
from components.spec.devices.device_tools import AdbEvaluator

_LEAST_S = 1.0
# State of a device in `adb devices` -> how to make it usable.
_STATES = {
    "unauthorized": "unlock the phone, and allow USB debugging from this machine when asked",
    "authorizing": "wait a moment, unlock the phone, and allow USB debugging when asked",
    "offline": "reconnect the cable, or run `adb reconnect offline`; restart the phone if that doesn't help",
    "no permissions": "give this user access to the USB device (Debian: install android-sdk-platform-tools-common, "
    "which has the udev rules, and reconnect)",
    "bootloader": "start Android on the phone (`fastboot reboot`)",
    "recovery": "start Android on the phone (`adb reboot`)",
    "sideload": "start Android on the phone (`adb reboot`)",
}
# Output of adb or the device's shell -> what is wrong, and how to fix it. The first match counts.
_COMPLAINTS = (
    (r"No space left on device|ENOSPC", "the phone has no space left", "free up space on the phone's data partition"),
    (
        r"Read-only file system|Permission denied",
        "the phone doesn't allow writing to {folder}",
        "set `folder` of the evaluator to a folder that adb's shell can write, such as /data/local/tmp",
    ),
    (
        r"device '?[^ ']*'? ?not found|device offline|error: closed|no devices/emulators found|protocol fault",
        "the connection to the phone was lost",
        "check the cable, keep the phone awake, and run again",
    ),
    (
        r"cannot connect to daemon|failed to check server version|cannot bind",
        "adb's server doesn't start",
        "run `adb kill-server` and `adb start-server`, and read what they print",
    ),
)


class AdbError(Exception):
    """A step failed, for the reason in `failure`."""

    def __init__(self, failure: ToolFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def unavailable(message: str, remedy: str) -> AdbError:
    """The failure of a connection. It says nothing about the candidate, so the next run tries again."""
    return AdbError(ToolFailure(cause="unavailable", message=message, remedy=remedy, transient=True))


class Phone:
    """The device that an evaluator selects.

    Args:
        evaluator: The evaluator. Its time limit starts now.

    Raises:
        AdbError: No device is usable, or several are.
    """

    def __init__(self, evaluator: AdbEvaluator) -> None:
        self._evaluator, self._until = evaluator, time.monotonic() + evaluator.timeout_s
        self._serial = ""
        code, listing = self._run(["devices"], "listing devices")
        if code:
            raise self._complaint("`adb devices` failed", listing)
        self._serial = self._chosen(states_of(listing))

    def _chosen(self, states: dict[str, str]) -> str:
        wanted = self._evaluator.serial
        if not states:
            raise unavailable("no device is connected", "connect a phone with USB debugging, and check `adb devices`")
        listed = ", ".join(f"{serial} ({state})" for serial, state in states.items())
        if wanted is not None and wanted not in states:
            raise unavailable(
                f"the device {wanted!r} is not connected (found: {listed})", "connect it, or correct `serial`"
            )
        if wanted is None and len(states) > 1:
            raise unavailable(
                f"{len(states)} devices are connected: {listed}",
                "set `serial` of the evaluator to one of them, or disconnect the others",
            )
        serial = wanted or next(iter(states))
        if states[serial] != "device":
            raise unavailable(
                f"the device {serial!r} is {states[serial]}",
                _STATES.get(states[serial], "see `adb devices`; only the state `device` is usable"),
            )
        return serial

    @property
    def seconds_left(self) -> float:
        """The remaining time, in seconds."""
        return self._until - time.monotonic()

    def shell(self, command: str, doing: str) -> tuple[int, str]:
        """Run a shell command on the device, and return its exit status and output.

        Raises:
            AdbError: The connection failed, or the time limit is exceeded.
        """
        _, output = self._run(["shell", with_exit_status(command)], doing)
        before, status = exit_status_of(output)
        if status is None:
            raise self._complaint(f"the connection ended while {doing}", output)
        return status, before

    def require(self, command: str, doing: str) -> str:
        """The output of a shell command that must succeed."""
        status, output = self.shell(command, doing)
        if status:
            raise self._complaint(f"{doing} failed with exit status {status}", output)
        return output

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the device."""
        code, output = self._run(["push", str(source), target], f"copying {source.name} to the phone")
        if code:
            raise self._complaint(f"copying {source.name} to the phone failed", output)

    def try_to(self, command: str) -> None:
        """Run a shell command whose outcome doesn't matter, such as removing files."""
        self._until = max(self._until, time.monotonic() + 10 * _LEAST_S)
        with contextlib.suppress(AdbError):
            self.shell(command, "cleaning up")

    def _run(self, arguments: Sequence[str], doing: str) -> tuple[int, str]:
        command = [self._evaluator.adb, *(("-s", self._serial) if self._serial else ()), *arguments]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise unavailable(
                f"{self._evaluator.adb!r} cannot be started: {error.strerror}",
                "install Android's platform tools (Debian: apt-get install adb), or set `adb` of the evaluator",
            ) from error
        try:
            output, _ = process.communicate(timeout=max(_LEAST_S, self._until - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            _kill(process)
            raise AdbError(
                ToolFailure(
                    cause="timed_out",
                    message=f"the phone was stopped after {self._evaluator.timeout_s:g} s while {doing}",
                    remedy="raise `timeout_s` of the evaluator in the device profile, or lower `runs`",
                    transient=True,
                )
            ) from error
        except BaseException:
            _kill(process)
            raise
        return process.returncode, output

    def _complaint(self, what: str, output: str) -> AdbError:
        for pattern, wrong, remedy in _COMPLAINTS:
            if re.search(pattern, output):
                return unavailable(f"{wrong.format(folder=self._evaluator.folder)}: {_last(output)}", remedy)
        return unavailable(f"{what}: {_last(output) or 'adb prints no reason'}", "see `adb logcat`, and run again")


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-2:])[-300:]


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
