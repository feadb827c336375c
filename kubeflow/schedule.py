"""Schedules for plain machines: a systemd timer and its service, and the same as a line for crontab."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from components.core.errors import SpecError
from components.core.files import is_file, write_atomically
from components.core.values import FrozenModel
from kubeflow.cron import Cron

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}$")


class Schedule(FrozenModel):
    """A command that is due now and then.

    Attributes:
        name: What it is called; files and units carry it.
        command: Program and arguments, paths absolute.
        folder: Where it starts, absolute.
        root: Where runs of this machine leave their artifacts; the lock of the crontab line lies there.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    root: Path

    @property
    def unit(self) -> str:
        """The systemd unit, without its suffix."""
        return f"edgemill-{self.name}"


def check_name(name: str) -> None:
    """Raise a SpecError unless units and lock files can be called so."""
    if not _NAME.match(name):
        raise SpecError(
            "a schedule cannot be called so",
            where="--name",
            bound="lower-case letters, digits and hyphens, at most 64",
            measured=name,
            remedy="choose another name",
        )


def write_units(schedule: Schedule, cron: Cron, folder: Path) -> tuple[Path, Path]:
    """Write the service and the timer; nothing is installed or started.

    Args:
        schedule: What to run.
        cron: When.
        folder: Where the two files go.

    Raises:
        SpecError: A schedule of that name is there already, or the folder cannot be written.
    """
    service, timer = folder / f"{schedule.unit}.service", folder / f"{schedule.unit}.timer"
    taken = next((path for path in (service, timer) if is_file(path)), None)
    if taken is not None:
        raise SpecError(
            f"there is a schedule called {schedule.name!r} already",
            where=str(taken),
            bound="one schedule of a name",
            remedy="give this one another --name, or remove the files of the other",
        )
    try:
        write_atomically(service, _service(schedule).encode())
        write_atomically(timer, _timer(schedule, cron).encode())
    except OSError as error:
        raise SpecError(
            f"the units cannot be written: {error.strerror}", where=f"-o {folder}", remedy="choose another folder"
        ) from error
    return service, timer


def crontab_line(schedule: Schedule, cron: Cron) -> str:
    """A line for crontab that skips a turn while the last one still runs."""
    lock = schedule.root / f".schedule-{schedule.name}.lock"
    command = (
        f"cd {shlex.quote(str(schedule.folder))} && mkdir -p {shlex.quote(str(schedule.root))} && "
        f"flock --nonblock {shlex.quote(str(lock))} {shlex.join(schedule.command)}"
    )
    # cron takes an unescaped percent sign for the end of the line.
    return f"{cron.text} {command.replace('%', chr(92) + '%')}"


def _service(schedule: Schedule) -> str:
    return f"""# Made by `edgemill schedule`.
[Unit]
Description=Edgemill: {_escaped(schedule.name)}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
WorkingDirectory={_path(schedule.folder)}
# Secrets, such as EDGEMILL_METADATA, readable for the service alone. The file need not exist.
EnvironmentFile=-/etc/edgemill/{schedule.name}.env
ExecStart={_words(schedule.command)}
# A run that `systemctl stop` ends is no failed one.
SuccessExitStatus={128 + signal.SIGTERM}
"""


def _timer(schedule: Schedule, cron: Cron) -> str:
    return f"""# Made by `edgemill schedule` from the cron expression {cron.text}
[Unit]
Description=Edgemill: when {_escaped(schedule.name)} is due

[Timer]
OnCalendar={cron.systemd}
Persistent=true

[Install]
WantedBy=timers.target
"""


def _words(words: Sequence[str]) -> str:
    quoted = [word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") for word in words]
    return " ".join(f'"{_escaped(word)}"' for word in quoted)


def _path(path: Path) -> str:
    # Neither quotes nor blanks mean anything here, percent signs do.
    return _escaped(str(path))


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
