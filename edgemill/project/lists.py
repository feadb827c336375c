"""Lists of names as `--classes` and `--columns` take them: with commas, and with quotes like cells of a CSV table."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Collection, Iterable


def names_in(text: str) -> tuple[str, ...]:
    """The names in a list. A name with a comma is in double quotes."""
    lines = io.StringIO(text, newline="")
    return tuple(name.strip() for line in csv.reader(lines, skipinitialspace=True) for name in line)


def listed(names: Iterable[str]) -> str:
    """A list that `names_in` reads."""
    text = io.StringIO()
    csv.writer(text).writerow(names)
    return text.getvalue().removesuffix("\r\n")


def nearest(name: str, names: Collection[str]) -> str | None:
    """The name that is closest to a mistyped one, regardless of upper and lower case; None if none is close."""
    lower = {each.lower(): each for each in names}
    found = difflib.get_close_matches(name.lower(), lower, 1)
    return lower[found[0]] if found else None


def or_nearest(name: str, names: Collection[str], otherwise: str) -> str:
    """How to fix a mistyped name: the closest one, or else other words."""
    found = nearest(name, names)
    return f"did you mean {found}? If not, {otherwise}" if found else otherwise
