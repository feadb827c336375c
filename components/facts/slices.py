"""Names of slices of the evaluation data: `overall`, `label=3`, or crossed `age=30, sex=f`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from components.facts.evaluation import SliceResult

OVERALL = "overall"


def overall(slices: Iterable[SliceResult]) -> SliceResult | None:
    """The result on the complete split."""
    return next((result for result in slices if result.slice == OVERALL), None)


def features(name: str) -> tuple[str, ...]:
    """The features that a slice or a requested kind of slice crosses; none for the complete split.

    Args:
        name: A slice as the evaluation names it (`age=30, sex=f`). A feature without a value means each of its values
            (`label`; `age, sex`; `age, sex=f`).
    """
    return () if name == OVERALL else tuple(part.partition("=")[0] for part in _parts(name))


def matches(name: str, wanted: str) -> bool:
    """Whether a slice is the requested one or of the requested kind. The order of crossed features doesn't matter."""
    if name == wanted:
        return True
    if sorted(features(name)) != sorted(features(wanted)):
        return False
    own = _parts(name)
    return all(part in own for part in _parts(wanted) if "=" in part)


def _parts(name: str) -> list[str]:
    if "=" not in name:
        return re.split(r",\s*", name)
    # Values can contain commas. A comma starts another feature only if a name and an equals sign follow.
    return re.split(r", (?=[^,=]+=)", name)
