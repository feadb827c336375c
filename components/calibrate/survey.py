"""Surveys two splits in one Beam pass: ranges and labels of the sampled split, and repeats in the evaluation split."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from components.core.errors import DataError
from components.core.files import write_atomically

BINS = 64
_BATCH = 512
# Labels with more distinct values aren't classes.
_MOST_LABELS = 1000


@dataclass
class InputSurvey:
    """One model input over a complete split.

    Attributes:
        low, high: Smallest and largest finite value.
        not_finite: Number of NaN and infinite values.
        histogram: Counts in `BINS` equal bins over the sample's range. Values outside count in the outermost bins.
    """

    low: float = float("inf")
    high: float = float("-inf")
    not_finite: int = 0
    histogram: Any = field(default_factory=lambda: np.zeros(BINS, np.int64))


@dataclass
class Survey:
    """Facts about the sampled split and the evaluation split.

    Attributes:
        inputs: Input name -> facts about the sampled split.
        labels: Distinct integer labels of the sampled split; None if they aren't classes.
        repeated: Number of distinct sampled examples that also occur in the evaluation split.
        refused: Why an example of the split cannot be decoded. `components.calibrate.sampling.Sample` says why this
            isn't an exception.
    """

    inputs: dict[str, InputSurvey] = field(default_factory=dict)
    labels: set[int] | None = field(default_factory=set)
    repeated: int = 0
    refused: DataError | None = None


def content_hash(example: bytes) -> bytes:
    """Return a hash that identical examples share."""
    return hashlib.blake2b(example, digest_size=16).digest()


def survey_splits(
    pipeline: Any,
    *,
    split_files: Sequence[str],
    evaluation_files: Sequence[str],
    sample: Iterable[bytes],
    ranges: dict[str, tuple[float, float]],
    task: str,
    transform_graph: str | None,
    label: str,
    output: Path,
) -> None:
    """Add the survey to a Beam pipeline. After the pipeline has run, `read_survey(output)` reads it.

    `ranges` has the smallest and largest value of each input in the sample, which is the range of the histogram.
    """
    (
        pipeline
        | "split" >> beam.Create([str(file) for file in split_files])
        | "read split" >> beam.io.ReadAllFromTFRecord()
        | "batch" >> beam.BatchElements(min_batch_size=_BATCH, max_batch_size=_BATCH)
        | "look at inputs" >> beam.ParDo(_LookAtInputs(task, transform_graph, label, ranges))
        | "merge" >> beam.CombineGlobally(_merge)
        | "write inputs" >> beam.Map(_write_inputs, output=str(output))
    )
    (
        pipeline
        | "evaluation split" >> beam.Create([str(file) for file in evaluation_files])
        | "read evaluation split" >> beam.io.ReadAllFromTFRecord()
        | "hash" >> beam.Map(content_hash)
        | "sampled too" >> beam.Filter(frozenset(map(content_hash, sample)).__contains__)
        | "distinct" >> beam.Distinct()
        | "count" >> beam.combiners.Count.Globally()
        | "write repetitions" >> beam.Map(_write_repetitions, output=str(output))
    )


def read_survey(output: Path) -> Survey:
    """Read the results of a survey after its pipeline has run.

    Raises:
        DataError: An example lacks a feature that the task declares.
    """
    survey: Survey = pickle.loads((output / "inputs").read_bytes())
    if survey.refused is not None:
        raise survey.refused
    survey.repeated = json.loads((output / "repeated.json").read_bytes())
    return survey


def survey_input(values: npt.NDArray[Any], low: float, high: float) -> InputSurvey:
    """Return the facts about some values of an input of any number type, with a histogram from `low` to `high`."""
    finite = values[np.isfinite(values)]
    counts, _ = np.histogram(np.clip(finite, low, high), BINS, (low, high))
    if not finite.size:
        return InputSurvey(not_finite=values.size, histogram=counts)
    # Not `min(initial=np.inf)`: bytes and other integers can't represent infinity.
    return InputSurvey(float(finite.min()), float(finite.max()), values.size - finite.size, counts)


class _LookAtInputs(beam.DoFn):
    def __init__(
        self, task: str, transform_graph: str | None, label: str, ranges: dict[str, tuple[float, float]]
    ) -> None:
        self._task, self._graph, self._label, self._ranges = task, transform_graph, label, ranges

    def setup(self) -> None:
        from components.data.examples import ExampleDecoder

        self._decoder = ExampleDecoder(self._task, self._graph)

    def process(self, batch: list[bytes]) -> Iterator[Survey]:
        try:
            inputs, features = self._decoder.decode(batch)
        except DataError as error:
            yield Survey(refused=error)
            return
        found = Survey()
        for name, values in inputs.items():
            found.inputs[name] = survey_input(values, *self._ranges[name])
        labels = features.get(self._label)
        if labels is None or not np.issubdtype(labels.dtype, np.integer):
            found.labels = None
        else:
            found.labels = {int(one) for one in np.unique(labels)}
        yield found


def _merge(surveys: Iterable[Survey]) -> Survey:
    merged = Survey()
    for survey in surveys:
        for name, one in survey.inputs.items():
            known = merged.inputs.setdefault(name, InputSurvey())
            known.low, known.high = min(known.low, one.low), max(known.high, one.high)
            known.not_finite += one.not_finite
            known.histogram = known.histogram + one.histogram
        if survey.refused is not None:
            merged.refused = min(survey.refused, merged.refused or survey.refused, key=str)
        together = None if merged.labels is None or survey.labels is None else merged.labels | survey.labels
        merged.labels = None if together is None or len(together) > _MOST_LABELS else together
    return merged


def _write_inputs(survey: Survey, output: str) -> None:
    write_atomically(Path(output, "inputs"), pickle.dumps(survey))


def _write_repetitions(count: int, output: str) -> None:
    write_atomically(Path(output, "repeated.json"), json.dumps(count).encode())
