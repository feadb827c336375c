"""Lists of names as `--classes` and `--columns` take them: with commas, and with quotes like cells of a CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable


def names_in(text: str) -> tuple[str, ...]:
    """The names in a list. A name with a comma is in double quotes."""
    lines = io.StringIO(text, newline="")
    return tuple(name.strip() for line in csv.reader(lines, skipinitialspace=True) for name in line)


def listed(names: Iterable[str]) -> str:
    """A list that `names_in` reads."""
    text = io.StringIO()
    csv.writer(text).writerow(names)
    return text.getvalue().removesuffix("\r\n")
