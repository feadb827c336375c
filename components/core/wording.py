"""Wording that the messages of all components share."""

from __future__ import annotations

from collections.abc import Iterable


def some_of(names: Iterable[str], most: int = 5) -> str:
    """The first names of a possibly long list, such as `a, b and 3 more`."""
    known = list(names)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")
