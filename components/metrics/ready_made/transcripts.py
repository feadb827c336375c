"""Word and character error rates of transcripts: texts, or padded sequences of class indexes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import SpecError
from components.metrics.accumulator import Arrays, RatioOfSums
from components.metrics.ready_made.read import named_array, only

Array = npt.NDArray[Any]
Symbols = Sequence[Any]


class CharacterErrorRate(RatioOfSums):
    """Insertions, deletions, and substitutions of characters, divided by the characters of all references.

    Predictions and targets are texts, bytes in UTF-8 or str [N], or class indexes [N, T] with padding. The two can
    differ in T. Whitespace at the ends of a text does not count. An error in an example with an empty reference counts;
    if all references are empty, the rate is NaN. The distance is from Levenshtein 1966, "Binary codes capable of
    correcting deletions, insertions, and reversals", Soviet Physics Doklady 10:707-710.

    Args:
        padding: The class index that fills up shorter sequences. It is left out wherever it occurs.
        reference: A feature to compare with instead of the target, such as a text. "" for the target.
    """

    def __init__(self, padding: int = -1, reference: str = "") -> None:
        self._padding, self._reference = padding, reference

    def sums(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Array:
        """Return the errors and the length of the reference of each example."""
        reference = named_array(features, self._reference, "feature") if self._reference else only(targets, "target")
        found, wanted = self._symbols(only(predictions, "output")), self._symbols(reference)
        lengths = [len(reference) for reference in wanted]
        return np.stack([edit_distances(wanted, found), np.array(lengths, np.float64)], axis=1)

    def _symbols(self, values: Array) -> list[Symbols]:
        if values.dtype.kind in "SUO":
            return [self._of_text(_text(each)) for each in values.reshape(len(values))]
        if values.ndim < 2 or (values.dtype.kind == "f" and (values != np.round(values)).any()):
            raise SpecError(
                "this metric compares transcripts",
                where="evaluate.metrics",
                bound="texts [N], or class indexes [N, T]",
                measured=f"{values.dtype} {list(values.shape)}",
                remedy="return class indexes from the task's postprocess(), such as those of tf.nn.ctc_greedy_decoder",
            )
        rows = values.reshape(len(values), -1).astype(np.int64)
        return [self._of_indexes(row[row != self._padding].tolist()) for row in rows]

    def _of_text(self, text: str) -> Symbols:
        return text.strip()

    def _of_indexes(self, indexes: list[int]) -> Symbols:
        return indexes


class WordErrorRate(CharacterErrorRate):
    """Insertions, deletions, and substitutions of words, divided by the words of all references.

    Like `CharacterErrorRate`. Whitespace separates the words of a text.

    Args:
        padding: The class index that fills up shorter sequences.
        separator: The class index that separates words. None if each class index is a word.
        reference: A feature to compare with instead of the target.
    """

    def __init__(self, padding: int = -1, separator: int | None = None, reference: str = "") -> None:
        super().__init__(padding, reference)
        self._separator = separator

    def _of_text(self, text: str) -> Symbols:
        return text.split()

    def _of_indexes(self, indexes: list[int]) -> Symbols:
        if self._separator is None:
            return indexes
        words: list[tuple[int, ...]] = []
        word: list[int] = []
        for index in [*indexes, self._separator]:
            if index != self._separator:
                word.append(index)
            elif word:
                words.append(tuple(word))
                word = []
        return words


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def edit_distances(references: Sequence[Symbols], hypotheses: Sequence[Symbols]) -> Array:
    """The smallest number of insertions, deletions, and substitutions between sequences, for all pairs at once.

    Args:
        references, hypotheses: N sequences of symbols each.

    Returns:
        float64 [N].
    """
    numbers: dict[Any, int] = {}
    wanted, found = (
        _padded([[numbers.setdefault(symbol, len(numbers)) for symbol in each] for each in sequences], padding)
        for sequences, padding in ((references, -1), (hypotheses, -2))
    )
    lengths, ends = (np.array([len(each) for each in sequences], int) for sequences in (references, hypotheses))
    columns = np.arange(found.shape[1] + 1)
    # Distances of the references' first `row` symbols to each beginning of the hypotheses (Wagner and Fischer 1974).
    distances = np.tile(columns, (len(found), 1))
    result = distances[np.arange(len(found)), ends]
    for row in range(1, wanted.shape[1] + 1):
        substituted = distances[:, :-1] + (found != wanted[:, row - 1 : row])
        best = np.concatenate([np.full((len(found), 1), row), np.minimum(distances[:, 1:] + 1, substituted)], axis=1)
        # Insertions: the minimum of best[j] + (k - j) over all j up to k.
        distances = np.minimum.accumulate(best - columns, axis=1) + columns
        result = np.where(lengths == row, distances[np.arange(len(found)), ends], result)
    return result.astype(np.float64)


def _padded(rows: list[list[int]], padding: int) -> Array:
    width = max(map(len, rows), default=0)
    return np.array([row + [padding] * (width - len(row)) for row in rows], np.int64).reshape(len(rows), width)
