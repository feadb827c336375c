"""Finds evaluation examples whose content also occurs in another split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError
from components.core.values import FrozenModel

# Hashes compared at a time. This limits memory to a few MB for splits of any size.
_CHUNK = 1 << 18


class Overlap(FrozenModel):
    """The overlap of one split with the evaluation split.

    Attributes:
        split: The other split.
        shared: Number of the evaluation split's examples that occur there.
        examples: Number of the evaluation split's examples.
    """

    split: str
    shared: int
    examples: int

    @property
    def share(self) -> float:
        """The shared fraction of the evaluation split."""
        return self.shared / self.examples if self.examples else 0.0


def of_features(
    splits: Mapping[str, Callable[[], Iterable[bytes]]], read: Collection[str]
) -> dict[str, Iterable[bytes]]:
    """Reduce the examples of all splits to the features that are read, if a split's first example has other features.

    Otherwise, a number or a file name of each example would hide that two examples are the same.

    Args:
        splits: Split name -> function that returns the split's serialized tf.Examples.
        read: The names of these features.
    """
    import tensorflow as tf

    parse = tf.train.Example.FromString
    firsts = [parse(first) for each in splits.values() for first in islice(each(), 1)]
    if all(example.features.feature.keys() <= set(read) for example in firsts):
        return {name: each() for name, each in splits.items()}
    kept = sorted(read)
    return {name: map(partial(_reduced, parse, kept), each()) for name, each in splits.items()}


def _reduced(parse: Callable[[bytes], Any], kept: Sequence[str], example: bytes) -> bytes:
    features = parse(example).features.feature
    held = [(name.encode(), features[name].SerializeToString()) for name in kept if name in features]
    return b"".join(b"%d %d %s%s" % (len(name), len(value), name, value) for name, value in held)


def find_overlaps(evaluation: Iterable[bytes], others: Mapping[str, Iterable[bytes]]) -> tuple[Overlap, ...]:
    """Count the serialized examples of the evaluation split that also occur in other splits."""
    held_out = _hashes(evaluation)
    distinct, counts = np.unique(held_out, return_counts=True)
    found = []
    for split, examples in others.items():
        seen = np.zeros(len(distinct), bool)
        for chunk in _chunks(examples) if len(distinct) else ():
            places = np.minimum(np.searchsorted(distinct, chunk), len(distinct) - 1)
            seen[places[distinct[places] == chunk]] = True
        found.append(Overlap(split=split, shared=int(counts[seen].sum()), examples=len(held_out)))
    return tuple(found)


def refuse_overlaps(overlaps: Sequence[Overlap], evaluation: str, max_overlap: float) -> None:
    """Raise a DataError that names every split that shares too much with the evaluation split.

    Args:
        overlaps: The result of `find_overlaps`.
        evaluation: Name of the evaluation split.
        max_overlap: The largest share of its examples that another split may contain.
    """
    wrong = [each for each in overlaps if each.share > max_overlap]
    if wrong:
        raise DataError(
            f"the evaluation split {evaluation!r} shares examples with other splits, so the evaluation would be too "
            "optimistic for every candidate",
            where="examples.splits",
            bound=f"at most {max_overlap:.2%} of its examples (examples.max_overlap: {max_overlap:g})",
            measured="; ".join(
                f"{each.shared} of {each.examples} ({each.share:.2%}) in the split {each.split!r}" for each in wrong
            ),
            remedy="remove the shared examples, hash the splits by a feature that keeps such examples together, or "
            "raise examples.max_overlap if repeated examples are legitimate",
        )


def _hashes(examples: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    return np.concatenate([np.empty(0, np.uint64), *_chunks(examples)])


def _chunks(examples: Iterable[bytes]) -> Iterable[npt.NDArray[np.uint64]]:
    # With 64 bits and ten million examples on each side, about one audit in 180,000 has a false match.
    chunk = bytearray()
    for example in examples:
        chunk += hashlib.blake2b(example, digest_size=8).digest()
        if len(chunk) >= 8 * _CHUNK:
            yield np.frombuffer(bytes(chunk), np.uint64)
            chunk.clear()
    if chunk:
        yield np.frombuffer(bytes(chunk), np.uint64)
