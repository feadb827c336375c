"""Examples of the evaluation split that another split has too, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError
from components.core.values import FrozenModel

# Hashes that are compared at a time: a few MB, whatever the size of a split.
_CHUNK = 1 << 18


class Overlap(FrozenModel):
    """What one split shares with the evaluation split.

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
        """Of the evaluation split."""
        return self.shared / self.examples if self.examples else 0.0


def find_overlaps(evaluation: Iterable[bytes], others: Mapping[str, Iterable[bytes]]) -> tuple[Overlap, ...]:
    """Count the examples that are held out and yet seen.

    Args:
        evaluation: The evaluation split's serialized examples.
        others: Name -> those of another split.
    """
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
        overlaps: As `find_overlaps` returns them.
        evaluation: Name of the evaluation split.
        max_overlap: Largest share of its examples that another split may have.
    """
    wrong = [each for each in overlaps if each.share > max_overlap]
    if wrong:
        raise DataError(
            f"the evaluation split {evaluation!r} has examples that other splits have too, so the evaluation would "
            "flatter every candidate",
            where="examples.splits",
            bound=f"at most {max_overlap:.2%} of its examples (examples.max_overlap: {max_overlap:g})",
            measured="; ".join(
                f"{each.shared} of {each.examples} ({each.share:.2%}) in the split {each.split!r}" for each in wrong
            ),
            remedy="remove what the splits share, hash the splits by a feature that keeps such examples together, or "
            "raise examples.max_overlap if the same example may rightly occur again",
        )


def _hashes(examples: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    return np.concatenate([np.empty(0, np.uint64), *_chunks(examples)])


def _chunks(examples: Iterable[bytes]) -> Iterable[npt.NDArray[np.uint64]]:
    # 64 bits: among ten million examples on either side, one pair in 180,000 such audits is taken for equal.
    chunk = bytearray()
    for example in examples:
        chunk += hashlib.blake2b(example, digest_size=8).digest()
        if len(chunk) >= 8 * _CHUNK:
            yield np.frombuffer(bytes(chunk), np.uint64)
            chunk.clear()
    if chunk:
        yield np.frombuffer(bytes(chunk), np.uint64)
