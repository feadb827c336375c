"""Checks images, audio, arrays, and generators before a run: folders, tables, and labels; then also their content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from components.core.errors import DataError, counted, some_of
from components.ingest.arrays import open_arrays
from components.ingest.listing import Item, class_name, items, label_errors
from components.ingest.media import UnreadableError, wav_facts
from components.ingest.rows import check_share, labeled, row_of, rows
from components.ingest.sources import matching
from components.spec.examples import MadeSplits
from pipelines.file.spec import ArrayExamples, AudioExamples, Examples, HashedSplits, ImageExamples, MadeExamples
from pipelines.graph.sources import made_splits

# Number of evenly spread files to open before a run. ExampleGen opens all of them.
_MOST_OPENED = 2000
# Number of rows of each split that the task decodes before a run.
_SAMPLE = 16
# Larger archives are only opened by the deep check.
_MOST_BYTES = 256 << 20


class Sample(NamedTuple):
    """Rows of a split, as ExampleGen creates them."""

    split: str | None
    place: Path
    rows: list[dict[str, Any]]


def structure_errors(examples: MadeExamples) -> Iterator[DataError]:
    """Yield the errors in folders, tables, labels, sample rates, and shapes of arrays."""
    folder, splits = Path(examples.path), examples.patterns
    try:
        if isinstance(examples, ImageExamples | AudioExamples):
            found = {split or "all": items(examples, examples.label, folder, pattern)
                     for split, pattern in splits.items()}  # fmt: skip
            count = sum(map(len, found.values()))
            least = len(examples.splits.names)
            if count < least:
                yield DataError(
                    f"{counted(count, 'example')} cannot be divided into {least} splits",
                    where="examples.path",
                    bound=f"at least {least} examples, and several hundred for meaningful figures",
                    measured=", ".join(str(item.file) for each in found.values() for item in each) or "none",
                    remedy="add examples",
                )
                return
            if examples.label:
                yield from label_errors(examples, found)
            if isinstance(examples, AudioExamples):
                yield from _rate_errors(examples, [item for each in found.values() for item in each])
        elif isinstance(examples, ArrayExamples):
            for split, pattern in splits.items():
                files = matching(folder, [pattern])
                if sum(file.stat().st_size for file in files) <= _MOST_BYTES:
                    open_arrays(examples, files, split or "", examples.label)
    except DataError as error:
        yield error


def empty_classes(examples: Examples) -> list[str]:
    """The declared classes that no example has, in their order.

    None for functions, whose examples are only known during a run, and for arrays of more than 256 MiB.

    Raises:
        DataError: See `structure_errors`.
    """
    if not isinstance(examples, MadeExamples) or not examples.classes or not examples.label:
        return []
    folder, label = Path(examples.path), examples.label
    found: set[str] = set()
    for split, pattern in examples.patterns.items():
        if isinstance(examples, ImageExamples | AudioExamples):
            found |= {class_name(item.label, examples.classes) for item in items(examples, label, folder, pattern)}
            continue
        files = matching(folder, [pattern])
        if not isinstance(examples, ArrayExamples) or sum(file.stat().st_size for file in files) > _MOST_BYTES:
            return []
        labels = np.unique(open_arrays(examples, files, split or "", label)[label])
        found |= {class_name(one, examples.classes) for one in labels}
    return [name for name in examples.classes if name not in found]


def untested(classes: Sequence[str]) -> str:
    """The warning about classes without examples."""
    return f"there are no examples of {some_of(classes, 10)}, so the run can't measure these classes"


def _rate_errors(examples: AudioExamples, found: Sequence[Item]) -> Iterator[DataError]:
    if examples.resample:
        return
    rates: Counter[int] = Counter()
    first: dict[int, Path] = {}
    opened = _spread(found, _MOST_OPENED)
    for item in opened:
        try:
            rate = wav_facts(item.file)[0]
        except UnreadableError:
            continue  # counted by the deep check and by ExampleGen
        rates[rate] += 1
        first.setdefault(rate, item.file)
    if others := {rate: count for rate, count in rates.items() if rate != examples.sample_rate}:
        yield DataError(
            "WAV files have other sample rates",
            where="examples.sample_rate",
            bound=f"{examples.sample_rate} Hz",
            measured=", ".join(
                f"{rate} Hz in {counted(count, 'file')} such as {first[rate]}" for rate, count in sorted(others.items())
            )
            + ("" if len(opened) == len(found) else f", of the {len(opened):,} of {counted(len(found), 'file')} read"),
            remedy="set `resample: true` in examples, fix sample_rate, or convert the files",
        )


def samples(examples: MadeExamples) -> Iterator[Sample]:
    """Yield the rows that the task decodes before a run, with numbers as labels. Opens up to 2,000 files.

    Raises:
        DataError: Too many files can't be decoded; or see `components.ingest.rows`.
        SpecError: The user's function can't be called.
    """
    made, folder = made_splits(examples), Path(examples.path)
    if isinstance(examples, ImageExamples | AudioExamples):
        for split, place, decoded in sampled(examples, _MOST_OPENED):
            yield Sample(split, place, decoded[:: max(1, len(decoded) // _SAMPLE)][:_SAMPLE])
        return
    hashed = isinstance(examples.splits, HashedSplits)
    for split, pattern in examples.patterns.items():
        taken = islice(rows(made, folder, split or "", pattern, hashed=hashed), _SAMPLE)
        yield Sample(split, folder / pattern, [labeled(row, made) for row in taken])


def sampled(examples: ImageExamples | AudioExamples, most: int) -> Iterator[Sample]:
    """Yield up to `most` evenly spread rows of each split. Raises the same errors as `samples`."""
    made, folder = made_splits(examples), Path(examples.path)
    for split, pattern in examples.patterns.items():
        found = _spread(items(examples, examples.label, folder, pattern), most)
        yield Sample(split, folder / pattern, _opened(found, made, examples.max_unreadable))


def _opened(found: Sequence[Item], made: MadeSplits, most: float) -> list[dict[str, Any]]:
    """The rows of the files that can be decoded."""

    def opened(item: Item) -> dict[str, Any] | UnreadableError:
        try:
            return labeled(row_of(item, made), made)
        except UnreadableError as error:
            return error

    # Pillow releases Python's lock while it decodes.
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(opened, found))
    unreadable = [
        f"{item.file} ({result.measured})"
        for item, result in zip(found, results, strict=True)
        if isinstance(result, UnreadableError)
    ]
    check_share(unreadable, len(found), most)
    return [result for result in results if not isinstance(result, UnreadableError)]


def _spread(found: Sequence[Item], most: int) -> Sequence[Item]:
    return found[:: max(1, -(-len(found) // most))]
