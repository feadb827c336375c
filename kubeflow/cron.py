"""Parses cron expressions, and converts them for Kubeflow and systemd."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass

from components.core.errors import SpecError, counted

# Name, minimum, maximum. On days of the week, 0 and 7 are Sunday.
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_LEAP_YEAR = 2000
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
# ASCII digits only, because the text goes to cron and Kubeflow unchanged.
_PART = re.compile(r"(\*|\d+(?:-\d+)?)(?:/(\d+))?$", re.ASCII)


@dataclass(frozen=True)
class Cron:
    """A parsed cron expression.

    Attributes:
        text: The five fields, separated by single spaces.
        values: For each field, its values in ascending order. None means all values.
    """

    text: str
    values: tuple[tuple[int, ...] | None, ...]

    @property
    def kubeflow(self) -> str:
        """The format of Kubeflow Pipelines, which starts with the seconds and supports only 0 for Sunday."""
        *fields, weekday = self.text.split()
        days = self.values[4]
        return " ".join(["0", *fields, weekday if days is None else ",".join(str(day) for day in days)])

    @property
    def systemd(self) -> str:
        """The format of systemd's `OnCalendar=`."""
        minute, hour, day, month, weekday = self.values
        days = "" if weekday is None else ",".join(_DAYS[value] for value in weekday) + " "
        return f"{days}*-{_listed(month)}-{_listed(day)} {_listed(hour)}:{_listed(minute)}:00"


def parse_cron(text: str) -> Cron:
    """Parse a cron expression of five fields, with numbers, ranges, lists, and steps.

    Raises:
        SpecError: The expression is invalid, never matches, or restricts both the day of the month and the day of the
            week. cron runs if either matches, and systemd if both do, so the expression would have two meanings.
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise _wrong(text, "it does not have five fields", counted(len(fields), "field"))
    values = tuple(_values(text, field, *kind) for field, kind in zip(fields, _FIELDS, strict=True))
    _, _, day, month, weekday = values
    if day is not None and weekday is not None:
        raise _wrong(text, "it sets both days of the month and days of the week", f"{fields[2]} and {fields[4]}")
    if (
        day is not None
        and month is not None
        and all(each > monthrange(_LEAP_YEAR, one)[1] for each in day for one in month)
    ):
        raise _wrong(text, "none of its months has such a day", f"day {fields[2]} of month {fields[3]}")
    if weekday is not None:
        weekday = tuple(sorted({value % 7 for value in weekday}))
    return Cron(" ".join(fields), (*values[:4], weekday))


def _values(text: str, field: str, name: str, least: int, greatest: int) -> tuple[int, ...] | None:
    if field == "*":
        return None
    found: set[int] = set()
    for part in field.split(","):
        matched = _PART.match(part)
        if matched is None:
            raise _wrong(text, f"the {name} cannot be parsed", part)
        span, step = matched.group(1), int(matched.group(2) or 1)
        low, _, high = (f"{least}-{greatest}" if span == "*" else span).partition("-")
        first = int(low)
        # `5/10` extends to the maximum; `5` alone is one value.
        last = int(high) if high else greatest if matched.group(2) else first
        if not least <= first <= last <= greatest or step < 1:
            raise _wrong(text, f"the {name} is out of its range, {least} to {greatest}", part)
        found.update(range(first, last + 1, step))
    return tuple(sorted(found))


def _listed(values: tuple[int, ...] | None) -> str:
    return "*" if values is None else ",".join(f"{value:02d}" for value in values)


def _wrong(text: str, what: str, measured: str) -> SpecError:
    return SpecError(
        f"this cron expression cannot be used: {what}",
        where=f"--cron {text!r}",
        bound="minute, hour, day of the month, month, and day of the week, as in `30 2 * * 1-5`",
        measured=measured,
        remedy="correct it; if you need more than one expression, use two schedules",
    )
