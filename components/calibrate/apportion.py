"""How many examples each stratum gives: exact integer arithmetic, so that every machine agrees."""

from __future__ import annotations

from collections.abc import Sequence


def proportional(available: Sequence[int], total: int) -> list[int]:
    """Shares in proportion to what is available, by the largest remainder method (Hamilton's).

    Args:
        available: Number of examples of each stratum; of equal remainders the earlier stratum's is the larger.
        total: Number to take; everything is taken if less is available.

    Returns:
        One number per stratum, never more than available; they sum to `total`.
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
    """The same number from each stratum; what small strata lack is shared out among the others.

    Args:
        available: Number of examples of each stratum; the earlier strata give what does not divide evenly.
        total: Number to take; everything is taken if less is available.

    Returns:
        One number per stratum, never more than available; they sum to `total`.
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
    """The greatest L for which taking min(available, L) of each stratum takes no more than `total`.

    Only meaningful when more than `total` is available. It never rises when examples are added: whoever has seen a
    part of the data may forget all but L + 1 examples of each stratum.
    """
    rest = total
    ascending = sorted(available)
    for position, count in enumerate(ascending):
        strata = len(ascending) - position
        if count * strata > rest:
            return rest // strata
        rest -= count
    return max(ascending, default=0)
