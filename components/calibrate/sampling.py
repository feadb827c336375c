"""A Beam transform that draws a seeded sample of exactly N examples in one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from components.calibrate.feature import feature_reader, feature_values
from components.calibrate.reservoir import Reservoir
from components.core.errors import DataError
from components.facts.audit import StratumFact
from components.spec.calibrate import CalibrationSpec


@dataclass(frozen=True)
class Sample:
    """The result of one pass.

    Attributes:
        examples: Serialized tf.Examples in order of their seeded hash, so any prefix is a random part of the sample.
        available: Number of examples in the split.
        strata: Counts per value of the stratifying feature, in order of value; empty for a uniform sample.
        refused: Why the data cannot be sampled as requested; then there are no examples. It isn't an exception because
            Beam would turn that into a RuntimeError.
    """

    examples: tuple[bytes, ...] = ()
    available: int = 0
    strata: tuple[StratumFact, ...] = ()
    refused: DataError | None = None


@beam.typehints.with_input_types(bytes)
@beam.typehints.with_output_types(Sample)
class SampleExamples(beam.PTransform):
    """Serialized tf.Examples -> one `Sample` of exactly `spec.samples` of them, or of all if there are fewer.

    The same data and seed give the same sample, regardless of sharding, order, runner, and number of workers.
    `FlatMap(lambda sample: sample.examples)` turns the sample back into a collection of examples. See `Reservoir` for
    the method and its memory use. The sample is one element, so it must fit into a worker's memory.

    Args:
        spec: The number of samples, the stratification, and the seed.
    """

    def __init__(self, spec: CalibrationSpec) -> None:
        super().__init__()
        self._spec = spec

    def expand(self, examples: Any) -> Any:
        """See the class."""
        return examples | "Bottom k by hash" >> beam.CombineGlobally(_SampleFn(self._spec))


class _SampleFn(beam.CombineFn):
    def __init__(self, spec: CalibrationSpec) -> None:
        self._spec = spec

    def setup(self) -> None:
        feature = self._spec.stratify_by
        self._stratum_of: Callable[[bytes], bytes] | None = feature_reader(feature) if feature else None

    def create_accumulator(self) -> Reservoir:
        return Reservoir(self._spec.samples, self._spec.stratify, self._spec.seed)

    def add_input(self, reservoir: Reservoir, example: bytes) -> Reservoir:
        if self._stratum_of is None:
            reservoir.add(b"", example)
            return reservoir
        try:
            stratum = self._stratum_of(example)
        except DataError as error:
            reservoir.refuse(error)
        else:
            reservoir.add(stratum, example)
        return reservoir

    def merge_accumulators(self, reservoirs: Iterable[Reservoir]) -> Reservoir:
        whole = self.create_accumulator()
        for reservoir in reservoirs:
            whole.merge(reservoir)
        return whole

    def compact(self, reservoir: Reservoir) -> Reservoir:
        reservoir.shrink()
        return reservoir

    def extract_output(self, reservoir: Reservoir) -> Sample:
        try:
            examples, counts = reservoir.take()
        except DataError as error:
            return Sample(refused=error)
        facts = [(feature_values(name), *numbers) for name, numbers in counts.items()] if self._stratum_of else []
        return Sample(
            examples=examples,
            available=sum(available for available, _ in counts.values()),
            strata=tuple(
                StratumFact(value=", ".join(map(str, values)), available=available, taken=taken)
                for values, available, taken in sorted(facts, key=lambda fact: (str(type(fact[0][0])), fact[0]))
            ),
        )
