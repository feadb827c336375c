"""Finds what changed between stored predictions. Imports TensorFlow, which decodes the examples to show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.changes.ranking import Ranking
from components.changes.shown import shown
from components.data.examples import ExampleDecoder
from components.data.records import serialized_batches
from components.facts.changes import ChangedExample, Changes
from components.predict.artifact import Predictions
from components.predict.digests import digests_of, hexadecimal

Array = npt.NDArray[Any]
_BATCH = 1000


def find_changes(
    recipe: str,
    before: Predictions,
    after: Predictions,
    files: Sequence[str],
    *,
    task: str,
    transform_graph: str | None,
    label: str,
    classes: Sequence[str],
    most: int,
) -> Changes:
    """Find what changed.

    Args:
        recipe: Name of the candidate's recipe.
        before, after: Predictions of the baseline and of the candidate.
        files: Gzipped TFRecord files of the split, in the order of the predictions.
        task, transform_graph: As for `ExampleDecoder`.
        label: The feature that is the target if the task declares none; "" for none.
        classes: Names of the classes, if they have names.
        most: Number of examples to show.

    Raises:
        DataError, SpecError: An example cannot be decoded.
        TamperedError: The predictions belong to different examples.
    """
    if not after.report.examples:
        why = after.report.rejected.message if after.report.rejected else "its conversion failed"
        return Changes(recipe=recipe, unavailable=f"this candidate has no predictions: {why}")
    decoder = ExampleDecoder(task, transform_graph)
    ranking = Ranking(most=most, classes=classes)
    for number, path in enumerate(files):
        for first, serialized in _batches(path):
            digests = digests_of(serialized)
            rows = [each.rows(number, first, digests) for each in (before.stored, after.stored)]
            targets = decoder.supervision(serialized, label, [label] if label else []).targets
            names = hexadecimal(digests)
            ranking.add(rows[0], rows[1], targets, list(zip(names, serialized, strict=True)))
    return Changes(
        recipe=recipe,
        examples=ranking.examples,
        answered=ranking.answered,
        lost=ranking.lost,
        gained=ranking.gained,
        worst=tuple(_changed(one, decoder) for one in ranking.worst),
    )


def _batches(path: str) -> Iterator[tuple[int, Array]]:
    """The number of the first example within the file, and the serialized examples."""
    first = 0
    for serialized in serialized_batches([path], _BATCH):
        yield first, serialized
        first += len(serialized)


def _changed(one: Any, decoder: ExampleDecoder) -> ChangedExample:
    digest, serialized = one.row
    inputs, _ = decoder.decode([serialized])
    return ChangedExample(
        example=digest,
        flip=one.flip,
        distance=one.distance,
        target=one.target,
        before=one.before,
        after=one.after,
        inputs=shown({name: np.asarray(values)[0] for name, values in inputs.items()}),
    )
