"""The command `edgemill-device`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path

from components.core.files import write_atomically
from components.device_client.errors import DeviceError, DeviceStatus, SettingsError, UnreachableError
from components.device_client.folder import CURRENT, PREVIOUS, STATUS_NAME, DeviceFolder
from components.device_client.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    options = _parser().parse_args(arguments)
    folder = DeviceFolder(options.folder)
    try:
        match options.command:
            case "init":
                return _init(folder, options)
            case "pull":
                return _pull(folder, retry=options.retry)
            case _:
                return _status(folder)
    except DeviceError as error:
        print(f"edgemill-device: {error}", file=sys.stderr)
        return int(error.status)


def _init(folder: DeviceFolder, options: argparse.Namespace) -> int:
    try:
        self_test = tuple(shlex.split(options.self_test))
    except ValueError as error:
        raise SettingsError(
            f"this is no command line: {error}",
            where="--self-test",
            measured=options.self_test,
            remedy="correct the quotes",
        ) from error
    settings = Settings(
        url=options.url,
        device_class=options.device_class,
        name=options.name,
        channel=options.channel,
        device_id=options.device_id,
        self_test=self_test,
        self_test_seconds=options.self_test_seconds,
        gateway=options.gateway,
    )
    settings.check()
    try:
        folder.create(settings, _root(options.root))
    except OSError as error:
        raise UnreachableError(
            f"the folder of the device cannot be written: {error.strerror or error}",
            where=str(error.filename or folder.path),
            remedy="name another folder, or grant access",
        ) from error
    return DeviceStatus.OK


def _root(path: Path) -> bytes:
    """Read the root that the device is going to trust, and check that it is one."""
    from components.device_client.trusted import problem_of_root

    try:
        content = path.read_bytes()
        problem = problem_of_root(content)
    except OSError as error:
        problem = error.strerror or str(error)
    if problem is not None:
        raise SettingsError(
            f"the root cannot be used: {problem}", where=str(path), remedy="name the root.json of the registry's keys"
        )
    return content


def _pull(folder: DeviceFolder, *, retry: bool) -> int:
    # The clients of HTTP and signatures are imported by this command only.
    from components.device_client.pull import pull

    try:
        update = pull(folder, retry=retry)
    except DeviceError as error:
        if not isinstance(error, SettingsError):
            _record(folder, error.status, str(error))
        raise
    except Exception as error:
        # Monitoring must notice what nobody foresaw, too.
        _record(folder, DeviceStatus.UNREACHABLE, f"edgemill-device failed: {type(error).__name__}: {error}")
        raise
    if update.warning:
        print(f"edgemill-device: {update.warning}", file=sys.stderr)
    print(update)
    _record(folder, DeviceStatus.OK, str(update), update.warning)
    return DeviceStatus.OK


def _status(folder: DeviceFolder) -> int:
    folder.settings()
    last = folder.last_pull()
    print(json.dumps({"current": folder.version(CURRENT), "previous": folder.version(PREVIOUS), "last_pull": last}))
    return DeviceStatus.OK if last is None else int(last["status"])


def _record(folder: DeviceFolder, status: DeviceStatus, message: str, warning: str | None = None) -> None:
    """Write how the last pull ended, for monitoring."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    value = {"time": now, "status": int(status), "meaning": status.name, "message": message, "warning": warning}
    try:
        write_atomically(folder.path / STATUS_NAME, json.dumps(value, indent=2).encode() + b"\n")
    except OSError as error:
        print(f"edgemill-device: status.json cannot be written: {error}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgemill-device", description="Keep the model of this device up to date.")
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init", help="Make the folder of a device.")
    init.add_argument("folder", type=Path)
    init.add_argument("--url", required=True, help="Address of the registry: https://... or oci://...")
    init.add_argument("--root", required=True, type=Path, help="The root.json that the device trusts.")
    init.add_argument("--device-class", required=True)
    init.add_argument("--name", required=True, help="Name of the pipeline.")
    init.add_argument("--channel", default="stable", help="canary, beta, or stable [stable].")
    init.add_argument("--device-id", required=True, help="Text that identifies the device and never changes.")
    init.add_argument("--self-test", default="", help="Program that gets the path of a new model as last argument.")
    init.add_argument("--self-test-seconds", type=float, default=300.0, help="Its time limit [300].")
    init.add_argument(
        "--gateway", action="store_true", help="Pass the model on to microcontrollers: also write its role file."
    )
    pull = commands.add_parser("pull", help="Fetch and install the release of the channel.")
    pull.add_argument("folder", type=Path)
    pull.add_argument("--retry", action="store_true", help="Try releases again that failed the self-test.")
    status = commands.add_parser("status", help="Print the installed versions and how the last pull ended, as JSON.")
    status.add_argument("folder", type=Path)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
