"""Parts of the examples that the jackknife leaves out: whole groups if examples belong to groups. Pure functions.

With few groups, each is a part (the delete-one-group jackknife). With many, groups are combined at random into 20
parts (Kott 2001, "The delete-a-group jackknife", Journal of Official Statistics 17:521-526), so that memory is bounded.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from components.predict.digests import BUCKETS

# More groups than this are combined.
MOST_PARTS = 64
# Groups are counted by the bits that they set (Whang, Vander-Zanden & Taylor 1990, "A linear-time probabilistic
# counting algorithm for database applications", ACM Transactions on Database Systems 15:208-229).
_BITS = 1 << 14


def group_numbers(values: npt.NDArray[Any]) -> list[int]:
    """Return a 32-bit number for the group of each example, which depends only on the value.

    Args:
        values: Values of the feature that names the group, [N, ...].
    """
    rows = values.reshape(len(values), -1).tolist()
    return [zlib.crc32(repr(row).encode()) for row in rows]


def together(number: int) -> int:
    """The part of a group if there are many. It is negative, so it differs from the number of every group."""
    return number if number < 0 else -1 - number % BUCKETS


def are_together(numbers: Iterable[int]) -> bool:
    """Whether these keys, each of a group or of a part of many groups, must become parts of many groups."""
    keys = tuple(numbers)
    return len(keys) > MOST_PARTS or any(key < 0 for key in keys)


def bit(number: int) -> int:
    """The bit that a group sets. The bits of several groups are combined by `|`."""
    # Not the digits of the number that `together` uses.
    return 1 << (number // BUCKETS % _BITS)


def count(bits: int) -> int:
    """The estimated number of groups that set these bits: within 3 % up to 10,000 groups, and too low for far more."""
    free = _BITS - bits.bit_count()
    return round(-_BITS * math.log(max(free, 1) / _BITS))
