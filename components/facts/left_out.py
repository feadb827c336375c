"""Damaged files that ingestion left out of the examples."""

from __future__ import annotations

from pydantic import TypeAdapter

from components.core.errors import counted
from components.core.values import FrozenModel

# Custom property of the artifact of examples: a JSON list of LeftOut, if files were left out.
LEFT_OUT_PROPERTY = "left_out"
# Names in one LeftOut. The log has all of them.
MOST_NAMED = 20


class LeftOut(FrozenModel):
    """Files of one pattern that could not be decoded.

    Attributes:
        split: The split; empty if a hash divides the files into splits.
        files: How many files match.
        damaged: How many of these files were left out.
        bound: The largest share that may be left out (`examples.max_unreadable`).
        first: The first of these files in alphabetical order, each with its defect.
    """

    split: str
    files: int
    damaged: int
    bound: float
    first: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the files that was left out."""
        return self.damaged / self.files

    @property
    def sentence(self) -> str:
        """Describe the counts."""
        place = f" of the split {self.split}" if self.split else ""
        return (
            f"{counted(self.damaged, 'damaged file')} of {self.files:,}{place} left out: {self.share:.2%}, "
            f"at most {self.bound:.2%} allowed"
        )


LEFT_OUT = TypeAdapter(tuple[LeftOut, ...])
