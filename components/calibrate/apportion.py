"""Apportions a sample among strata, in exact integer arithmetic so that results are the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence


def proportional(available: Sequence[int], total: int) -> list[int]:
    """Apportion in proportion to the available examples, by Hamilton's largest remainder method.

    Args:
        available: Number of examples of each stratum. If remainders are equal, the earlier stratum wins.
        total: Number of examples to take. If fewer are available, all are taken.

    Returns:
        One number per stratum, at most the available number. They sum to `total`, or to all available examples.
    """
    whole = sum(available)
    if whole <= total:
        return list(available)
    shares = [total * count // whole for count in available]
    by_remainder = sorted(range(len(available)), key=lambda index: -(total * available[index] % whole))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def balanced(available: Sequence[int], total: int) -> list[int]:
    """Take the same number from each stratum. The other strata make up for strata that are too small.

    Args:
        available: Number of examples of each stratum. The earlier strata contribute the indivisible rest.
        total: Number of examples to take. If fewer are available, all are taken.

    Returns:
        One number per stratum, at most the available number. They sum to `total`, or to all available examples.
    """
    if sum(available) <= total:
        return list(available)
    level = water_level(available, total)
    shares = [min(count, level) for count in available]
    above = [index for index, count in enumerate(available) if count > level]
    for index in above[: total - sum(shares)]:
        shares[index] += 1
    return shares


def water_level(available: Sequence[int], total: int) -> int:
    """Return the greatest L such that taking min(available, L) examples of each stratum takes at most `total`.

    The value is meaningful only if more than `total` examples are available. L never increases as examples are added,
    so after seeing part of the data, all but L + 1 examples of each stratum can be discarded.
    """
    rest = total
    ascending = sorted(available)
    for position, count in enumerate(ascending):
        strata = len(ascending) - position
        if count * strata > rest:
            return rest // strata
        rest -= count
    return max(ascending, default=0)
