"""The command `edgemill-device`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from components.core.files import write_atomically
from components.device_client.command_line import COMMAND, completion, parse, print_error
from components.device_client.errors import DeviceError, DeviceStatus, SettingsError, UnreachableError
from components.device_client.folder import CURRENT, PREVIOUS, STATUS_NAME, DeviceFolder
from components.device_client.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    options = parse(arguments)
    if options.command == "completion":
        script = completion(options.shell)
        _print({"shell": options.shell, "script": script}, script, options)
        return DeviceStatus.OK
    folder = DeviceFolder(options.folder)
    try:
        match options.command:
            case "init":
                return _init(folder, options)
            case "pull":
                return _pull(folder, options)
            case _:
                return _status(folder, options)
    except DeviceError as error:
        print(f"{COMMAND}: {error}", file=sys.stderr)
        if options.json:
            print_error(error.as_json(), error.status)
        return int(error.status)


def _print(content: Mapping[str, object], text: str, options: argparse.Namespace) -> None:
    """Print a result in the form that the options select."""
    if options.json:
        print(json.dumps(content, indent=2))
    elif not options.quiet:
        print(text)


def _init(folder: DeviceFolder, options: argparse.Namespace) -> int:
    try:
        self_test = tuple(shlex.split(options.self_test))
    except ValueError as error:
        raise SettingsError(
            f"this is not a valid command line: {error}",
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
            remedy="choose another folder, or grant access",
        ) from error
    made = {"folder": str(folder.path), "url": settings.url, "channel": settings.channel}
    _print(made, f"{folder.path}: created; next: {COMMAND} pull {folder.path}", options)
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
            f"the root cannot be used: {problem}", where=str(path), remedy="specify the root.json of the key set"
        )
    return content


def _pull(folder: DeviceFolder, options: argparse.Namespace) -> int:
    # The clients of HTTP and signatures are imported by this command only.
    from components.device_client.pull import pull

    try:
        update = pull(folder, retry=options.retry)
    except DeviceError as error:
        if not isinstance(error, SettingsError):
            _record(folder, error.status, str(error))
        raise
    except Exception as error:
        # Monitoring must also notice unforeseen errors.
        message = f"{COMMAND} failed: {type(error).__name__}: {error}"
        _record(folder, DeviceStatus.UNREACHABLE, message)
        if options.json:
            unforeseen = UnreachableError(message, remedy="report it with the stack, which is on standard error")
            print_error({**unforeseen.as_json(), "kind": type(error).__name__}, DeviceStatus.UNREACHABLE)
        raise
    if update.warning:
        print(f"{COMMAND}: {update.warning}", file=sys.stderr)
    _print(asdict(update), str(update), options)
    _record(folder, DeviceStatus.OK, str(update), update.warning)
    return DeviceStatus.OK


def _status(folder: DeviceFolder, options: argparse.Namespace) -> int:
    folder.settings()
    last = folder.last_pull()
    current, previous = folder.version(CURRENT), folder.version(PREVIOUS)
    # After a failed self-test, both links name the model that stayed.
    content = {"current": current, "previous": None if previous == current else previous, "last_pull": last}
    _print(content, json.dumps(content), options)
    return DeviceStatus.OK if last is None else int(last["status"])


def _record(folder: DeviceFolder, status: DeviceStatus, message: str, warning: str | None = None) -> None:
    """Write the outcome of the last pull, for monitoring."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    value = {"time": now, "status": int(status), "meaning": status.name, "message": message, "warning": warning}
    try:
        write_atomically(folder.path / STATUS_NAME, json.dumps(value, indent=2).encode() + b"\n")
    except OSError as error:
        print(f"{COMMAND}: status.json cannot be written: {error}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
