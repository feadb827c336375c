"""A bounded, mergeable reservoir that keeps the examples with the smallest hashes of every stratum."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from components.core.errors import DataError

MAX_STRATA = 10_000
_LAST = b"\xff" * 16
# Up to this many examples, a proportional reservoir keeps every example that could be taken, for any data.
_SAFE_SIZE = 4096
_SLACK = 12
Allocation = Literal["proportional", "balanced"]


def salt_of(seed: int) -> bytes:
    """Return the 16-byte salt for `priority` that represents a seed."""
    return hashlib.blake2b(str(seed).encode(), digest_size=16).digest()


def priority(content: bytes, salt: bytes) -> bytes:
    """Return the keyed hash that orders examples: 16 bytes of BLAKE2b. Only equal contents have equal hashes."""
    return hashlib.blake2b(content, digest_size=16, salt=salt).digest()


@dataclass
class _Stratum:
    """The examples of one stratum with priorities up to `threshold`. No others can be among the smallest."""

    available: int = 0
    threshold: bytes = _LAST
    # Priority -> [number of copies, content].
    kept: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)

    def cut(self, keep: int) -> None:
        """Discard all but the `keep` smallest examples. Copies count, and all copies of one content stay together."""
        ascending = sorted(self.kept)
        copies = accumulate(self.kept[digest][0] for digest in ascending)
        needed = next((index for index, count in enumerate(copies, 1) if count >= keep), None)
        if needed is not None and needed < len(ascending):
            self.restrict(ascending[needed - 1])

    def restrict(self, threshold: bytes) -> None:
        """Lower the threshold, and discard the examples above it."""
        if threshold < self.threshold:
            self.threshold = threshold
            self.kept = {digest: entry for digest, entry in self.kept.items() if digest <= threshold}

    def least(self, count: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield (priority, content) of the `count` smallest examples, or of all if fewer are kept."""
        for digest in sorted(self.kept):
            copies, content = self.kept[digest]
            for _ in range(min(copies, count)):
                yield digest, content
            count -= min(copies, count)


class Reservoir:
    """A bottom-k sample of the examples that a worker has seen, independent of their order.

    An example's priority is a keyed hash of its content (bottom-k sampling; Cohen and Kaplan, "Summarizing data using
    bottom-k sketches", 2007), so the sample depends only on the data and the seed. Copies of one content share a
    priority. They are counted, not stored, and taken together up to the requested number.

    Memory is O(samples + strata) examples. Uniform and balanced reservoirs discard only examples that provably cannot
    be taken. So does a proportional one while strata times samples is at most 4096. Beyond that, it keeps twice the
    expected share of every stratum. If that isn't enough, `take` fails rather than return a wrong sample.

    Args:
        samples: Number of examples to take.
        allocation: How the samples are distributed among strata. With one stratum, the sample is uniform.
        seed: Seed of the hash.
    """

    def __init__(self, samples: int, allocation: Allocation, seed: int) -> None:
        self._samples, self._allocation, self._salt = samples, allocation, salt_of(seed)
        self._strata: dict[bytes, _Stratum] = {}
        self._size, self._limit = 0, 0
        self.refused: DataError | None = None

    def add(self, stratum: bytes, content: bytes) -> None:
        """Add one example of a stratum."""
        # Hot path: every example of a split gets here, so `priority` is inlined.
        digest = hashlib.blake2b(content, digest_size=16, salt=self._salt).digest()
        held = self._strata.get(stratum) or self._open(stratum)
        held.available += 1
        if digest > held.threshold:
            return
        copies = held.kept[digest][0] if digest in held.kept else 0
        held.kept[digest] = (copies + 1, content)
        self._size += not copies
        if self._size > self._limit:
            self.shrink()

    def refuse(self, error: DataError) -> None:
        """Record that the data cannot be sampled. Which of several reasons is kept doesn't depend on their order."""
        self.refused = min(error, self.refused or error, key=str)
        self._strata, self._size = {}, 0

    def merge(self, other: Reservoir) -> None:
        """Merge another reservoir with the same parameters into this one."""
        if other.refused:
            self.refuse(other.refused)
        for name, theirs in other._strata.items():
            ours = self._strata.get(name) or self._open(name)
            ours.available += theirs.available
            ours.restrict(theirs.threshold)
            for digest, (copies, content) in theirs.kept.items():
                if digest <= ours.threshold:
                    before = ours.kept[digest][0] if digest in ours.kept else 0
                    ours.kept[digest] = (before + copies, content)
        self.shrink()

    def shrink(self) -> None:
        """Discard examples that can no longer be taken."""
        counts = [stratum.available for stratum in self._strata.values()]
        whole = sum(counts)
        if whole > self._samples:
            keep = water_level(counts, self._samples) + 1 if self._allocation == "balanced" else self._samples
            for stratum in self._strata.values():
                stratum.cut(keep)
            if self._allocation == "proportional" and len(self) > self._bound():
                for stratum in self._strata.values():
                    stratum.cut(2 * self._samples * stratum.available // whole + _SLACK)
        self._size = len(self)

    def take(self) -> tuple[tuple[bytes, ...], dict[bytes, tuple[int, int]]]:
        """Return the sample in order of priority, and stratum -> (available, taken).

        Raises:
            DataError: The data cannot be sampled as requested.
        """
        if self.refused:
            raise self.refused
        # A seeded order breaks ties. The order of the values would favor small ones.
        names = sorted(self._strata, key=lambda name: priority(name, self._salt))
        available = [self._strata[name].available for name in names]
        share = balanced if self._allocation == "balanced" else proportional
        quotas = dict(zip(names, share(available, self._samples), strict=True))
        taken = {name: list(self._strata[name].least(quota)) for name, quota in quotas.items()}
        if any(len(taken[name]) < quota for name, quota in quotas.items()):
            raise DataError(
                "too many examples have identical contents to sample so many strata in bounded memory",
                where="calibrate.stratify_by",
                measured=f"{len(names)} strata, {self._samples} samples",
                remedy="remove the copies, set `stratify: balanced`, or stratify by a feature with fewer values",
            )
        examples = (content for _, content in sorted(pair for pairs in taken.values() for pair in pairs))
        return tuple(examples), {name: (self._strata[name].available, quotas[name]) for name in names}

    def _open(self, name: bytes) -> _Stratum:
        if self.refused:
            return _Stratum(threshold=b"")
        stratum = self._strata[name] = _Stratum()
        if len(self._strata) > MAX_STRATA:
            self.refuse(
                DataError(
                    "the stratifying feature has too many values",
                    where="calibrate.stratify_by",
                    bound=f"at most {MAX_STRATA:,} distinct values",
                    remedy="stratify by a feature with few values, such as the label, or sample uniformly",
                )
            )
        # 50% more than needed, so that the reservoir is rarely sorted.
        self._limit = self._bound() * 3 // 2 + 1
        return stratum

    def _bound(self) -> int:
        strata = len(self._strata)
        if self._allocation == "balanced":
            return self._samples + strata
        return max(2 * self._samples + (_SLACK + 1) * strata, min(strata * self._samples, _SAFE_SIZE))

    def __len__(self) -> int:
        return sum(len(stratum.kept) for stratum in self._strata.values())


def proportional(available: Sequence[int], total: int) -> list[int]:
    """Apportion by the number of available examples, with Hamilton's largest remainder method.

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
    """Return the largest L such that taking min(available, L) examples of each stratum takes at most `total`.

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
