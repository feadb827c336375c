"""Computes metrics and changes from the baseline per slice and model, with 95 % confidence intervals.

TFMA's own intervals are sound but expensive: its evaluator builds one Beam sub-graph per jackknife bucket or bootstrap
sample. This evaluator keeps all buckets in one accumulator, so an evaluation is a single combine. Except for means
over examples (`components.evaluate.means`), the metrics are TFMA's unchanged computations.

Method: delete-m_j jackknife with Student's t (Busing, Meijer & van der Leeden 1999, "Delete-m Jackknife for Unequal
m", Statistics and Computing 9:3-8), or, if examples belong to groups, the delete-a-group jackknife (see
`components.evaluate.groups`). A bootstrap would visit every example once per sample. As with every interval of
the form estimate +- t * error, the interval of a slice without a single wrong answer has zero width, so consider the
slice's size.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import slice_key_extractor
from tensorflow_model_analysis.metrics import metric_specs, metric_types

from components.evaluate import groups
from components.evaluate.means import MEANS_KEY
from components.evaluate.outputs.area import area_sample
from components.evaluate.outputs.resampled import RESAMPLED_KEY, Resampled
from components.evaluate.outputs.units import TERMS_KEY, UNIT_KEY, Terms, Units
from components.evaluate.parts import BUCKET_KEY, Buckets, Part
from components.evaluate.per_batch import AddUp
from components.facts.sample import Sample
from components.metrics.jackknife_error import standard_error
from components.upstream.autograph import do_not_convert

EXAMPLE_COUNT = "example_count"

Metrics = dict[Any, Any]


class _BucketedMetrics(beam.CombineFn):
    """Combines (bucket, values, inputs per computation, unit, terms) of one slice into metrics with intervals."""

    def __init__(self, eval_config: Any, terms: Terms, grouped: bool, ranked: Sequence[str]) -> None:
        self._grouped, self._terms, self._ranked, means = grouped, terms, tuple(ranked), terms.means
        specs = list(eval_config.metrics_specs)
        computations = dict.fromkeys(metric_specs.to_computations(specs, eval_config) if specs else ())
        self.computations = [c for c in computations if isinstance(c, metric_types.MetricComputation)]
        self._derived = [c for c in computations if isinstance(c, metric_types.DerivedMetricComputation)]
        self._without_interval = metric_specs.metric_keys_to_skip_for_confidence_intervals(specs, eval_config)
        models = model_names(eval_config)
        self._baseline = next((spec.name for spec in eval_config.model_specs if spec.is_baseline), "")
        self._means = [metric_types.MetricKey(name=name, model_name=model) for name in means for model in models]
        self._counts = [metric_types.MetricKey(name=EXAMPLE_COUNT, model_name=model) for model in models]

    def setup(self) -> None:
        for computation in self.computations:
            computation.combiner.setup()

    def teardown(self) -> None:
        for computation in self.computations:
            computation.combiner.teardown()

    def create_accumulator(self) -> Buckets:
        return {}

    def _empty(self) -> Part:
        return Part(0, 0.0, [computation.combiner.create_accumulator() for computation in self.computations])

    # Otherwise, AutoGraph converts a Keras metric's update_state() on every eager call, at ten times the call's cost.
    @do_not_convert
    def add_input(self, accumulator: Buckets, element: tuple[int, Any, list[Any], int, Any]) -> Buckets:
        bucket, values, inputs, unit, terms = element
        group = groups.bit(bucket) if self._grouped else 0
        if accumulator and next(iter(accumulator)) < 0:
            bucket = groups.together(bucket)
        part = accumulator.get(bucket) or self._empty()
        accumulators = [
            computation.combiner.add_inputs(one, each)
            for computation, one, each in zip(self.computations, part.accumulators, inputs, strict=True)
        ]
        units, key = part.units or Units(), np.array([unit])
        units.add(key, terms[None])
        keys = (*part.keys, key) if self._ranked else ()
        accumulator[bucket] = Part(part.size + 1, part.sums + values, accumulators, part.groups | group, units, keys)
        return accumulator if len(accumulator) <= groups.MOST_PARTS else self.merge_accumulators([accumulator])

    @do_not_convert
    def merge_accumulators(self, accumulators: Iterable[Buckets]) -> Buckets:
        buckets = [item for each in accumulators for item in each.items()]
        together = groups.are_together({bucket for bucket, _ in buckets})
        merged: Buckets = {}
        for bucket, part in buckets:
            key = groups.together(bucket) if together else bucket
            merged[key] = self._merge(merged.get(key) or self._empty(), part)
        return merged

    @do_not_convert
    def compact(self, accumulator: Buckets) -> Buckets:
        return {
            bucket: part._replace(
                accumulators=[
                    computation.combiner.compact(one)
                    for computation, one in zip(self.computations, part.accumulators, strict=True)
                ]
            )
            for bucket, part in accumulator.items()
        }

    @do_not_convert
    def extract_output(self, accumulator: Buckets) -> tuple[Metrics, Resampled]:
        parts = [part for _, part in sorted(accumulator.items(), key=lambda item: item[0])]
        units, keys = Units(), [key for part in parts for key in part.keys]
        for part in parts:
            if part.units is not None:
                units.merge(part.units)
        units.settle()
        parts = [part._replace(units=None, keys=()) for part in parts]
        # Joining the parts before and after each bucket takes 3 merges per bucket, instead of one per pair of buckets.
        before = list(itertools.accumulate(parts, self._join, initial=self._empty()))
        after = list(itertools.accumulate(reversed(parts), self._join, initial=self._empty()))[::-1]
        metrics = self._metrics(before[-1])
        sizes, among = [part.size for part in parts], None
        if self._grouped:
            among = groups.count(before[-1].groups) if units.folded else len(units.keys)
        samples = [*self._terms.samples(units), *self._areas(before[-1], np.concatenate(keys) if keys else None)]
        resampled = Resampled(sizes, among, self._flips(before[-1]), without=[], samples=samples)
        if len(parts) >= 2:
            without = [self._metrics(self._join(before[i], after[i + 1])) for i in range(len(parts))]
            resampled.without.extend(
                (key.model_name, key.name, [float(sample[key]) for sample in without])
                for key, value in metrics.items()
                if not key.is_diff and self._has_interval(key, value, without)
            )
            metrics = {key: self._with_interval(key, value, without, sizes) for key, value in metrics.items()}
        return metrics | dict.fromkeys(self._counts, before[-1].size), resampled

    def _areas(self, part: Part, keys: Any) -> Iterator[tuple[str, str, Sample]]:
        """The samples of areas under a curve, whose accumulators contain the scores of all examples."""
        for computation, accumulator in zip(self.computations, part.accumulators, strict=True):
            (key, *_) = computation.keys
            if keys is not None and key.name in self._ranked:
                found = area_sample(accumulator, keys, self._grouped)
                if found is not None:
                    yield key.model_name, key.name, found

    def _flips(self, part: Part) -> list[tuple[str, str, int, int]]:
        values = len(self._means)
        candidates, metrics = len(self._counts) - 1, values // len(self._counts)
        columns = np.atleast_1d(part.sums)[values:-1].reshape(metrics, 1 + 2 * candidates)
        return [
            (key.model_name, key.name, int(columns[metric, 1 + index]), int(columns[metric, 1 + candidates + index]))
            for metric in range(metrics)
            if columns[metric, 0] == 0
            for index, key in enumerate(self._means[metric * (candidates + 1) + 1 : (metric + 1) * (candidates + 1)])
        ]

    def _has_interval(self, key: Any, value: Any, without: list[Metrics]) -> bool:
        numbers = (value, *(sample.get(key) for sample in without))
        return key not in self._without_interval and all(_is_number(each) for each in numbers)

    def _with_interval(self, key: Any, value: Any, without: list[Metrics], sizes: list[int]) -> Any:
        if not self._has_interval(key, value, without):
            return value
        deleted = [sample[key] for sample in without]
        return tfma.types.ValueWithTDistribution(
            sample_mean=float(value),
            sample_standard_deviation=standard_error(
                float(value), [float(each) for each in deleted], sizes, self._grouped
            ),
            sample_degrees_of_freedom=len(sizes) - 1,
            unsampled_value=float(value),
        )

    def _merge(self, into: Part, other: Part) -> Part:
        # An iterator, because with a list, TFMA's regression errors start over and count the first entry twice.
        accumulators = [
            computation.combiner.merge_accumulators(iter((a, b)))
            for computation, a, b in zip(self.computations, into.accumulators, other.accumulators, strict=True)
        ]
        units = into.units or other.units
        if units is not None and other.units not in (None, units):
            units.merge(other.units)
        sums, bits, keys = into.sums + other.sums, into.groups | other.groups, into.keys + other.keys
        return Part(into.size + other.size, sums, accumulators, bits, units, keys)

    def _join(self, left: Part, right: Part) -> Part:
        """Merge without changing either part, because TFMA's combiners may modify the first accumulator in place."""
        return self._merge(self._merge(self._empty(), left), right)

    def _metrics(self, part: Part) -> Metrics:
        sums = np.atleast_1d(part.sums).tolist()
        weight = sums[-1]
        means = (each / weight if weight else math.nan for each in sums[: len(self._means)])
        metrics: Metrics = dict(zip(self._means, means, strict=True))
        for computation, one in zip(self.computations, part.accumulators, strict=True):
            metrics.update(computation.combiner.extract_output(one))
        for derived in self._derived:
            metrics.update(derived.result(metrics))
        public = {key: value for key, value in metrics.items() if not key.name.startswith("_")}
        return public | self._changes(public)

    def _changes(self, metrics: Metrics) -> Metrics:
        return {
            key.make_diff_key(): value - metrics[base]
            for key, value in metrics.items()
            if key.model_name != self._baseline
            and (base := key.make_baseline_key(self._baseline)) in metrics
            and _is_number(value)
            and _is_number(metrics[base])
        }


def model_names(eval_config: Any) -> list[str]:
    """Return the models' names in extracts and metrics. By TFMA's rule, a single model has the name ""."""
    names = [spec.name for spec in eval_config.model_specs]
    return names if len(names) > 1 else [""]


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


class _FanOut(beam.DoFn):
    """One example's extracts -> (slice, what `_BucketedMetrics` combines) for each of its slices."""

    def __init__(self, computations: Sequence[Any]) -> None:
        self._preprocessors = [computation.preprocessors for computation in computations]

    def setup(self) -> None:
        for preprocessor in itertools.chain.from_iterable(self._preprocessors):
            preprocessor.setup()

    def process(self, element: Mapping[str, Any]) -> Iterator[tuple[Any, tuple[int, Any, list[Any], int, Any]]]:
        inputs = [self._inputs(chain, element) for chain in self._preprocessors]
        bucket, unit = (int(element[name].item()) for name in (BUCKET_KEY, UNIT_KEY))
        for key in element[tfma.SLICE_KEY_TYPES_KEY]:
            yield key, (bucket, element[MEANS_KEY], inputs, unit, element[TERMS_KEY])

    @staticmethod
    def _inputs(preprocessors: Sequence[Any], element: Mapping[str, Any]) -> list[Any]:
        outputs: list[Any] = [dict(element)]
        for preprocessor in preprocessors:
            outputs = [each for output in outputs for each in preprocessor.process(output)]
        return [metric_types.StandardMetricInputs(output) for output in outputs]


class _MergedParts(_BucketedMetrics):
    """The same for parts that were combined before."""

    # Otherwise, AutoGraph converts Keras metrics, as in `_BucketedMetrics`.
    @do_not_convert
    def add_input(self, accumulator: Buckets, element: Buckets) -> Buckets:
        return self.merge_accumulators([accumulator, element])


@beam.ptransform_fn
def _Evaluate(extracts: Any, step: beam.DoFn, combine: _BucketedMetrics) -> dict[str, Any]:
    per_slice = extracts | "FanOut" >> beam.ParDo(step)
    both = per_slice | "MetricsPerSlice" >> beam.CombinePerKey(combine)
    return {
        tfma.METRICS_KEY: both | "Metrics" >> beam.MapTuple(lambda key, results: (key, results[0])),
        RESAMPLED_KEY: both | "Resampled" >> beam.MapTuple(lambda key, results: (key, results[1])),
    }


def JackknifeEvaluator(
    eval_config: Any, terms: Terms, grouped: bool, ranked: Sequence[str] = (), batched: bool = False
) -> tfma.evaluators.Evaluator:
    """Create a TFMA evaluator with intervals, changes from the baseline, and the number of examples per slice.

    Its other result, at `RESAMPLED_KEY`, is (slice key, `Resampled`) for each slice.

    It runs after TFMA's SliceKeyExtractor, on unbatched extracts that also have `BUCKET_KEY`, `MEANS_KEY`, `UNIT_KEY`,
    and `TERMS_KEY`; with `batched`, on batches without slice keys.

    Args:
        eval_config: TFMA's config. Its metrics_specs name the metrics that aren't means.
        terms: The columns of `TERMS_KEY`. Its means are the metrics in `MEANS_KEY`.
        grouped: Whether examples belong to groups, whose numbers are in `BUCKET_KEY`.
        ranked: Names of the metrics that are areas under the ROC curve, whose accumulators contain all scores.
        batched: Whether each of the extracts is a batch. All metrics must be means or functions.

    Raises:
        ValueError, TypeError: TFMA doesn't know a metric or doesn't accept its config.
    """
    combine = (_MergedParts if batched else _BucketedMetrics)(eval_config, terms, grouped, ranked)
    step = (
        AddUp(eval_config.slicing_specs, combine.computations, grouped, bool(ranked))
        if batched
        else _FanOut(combine.computations)
    )
    return tfma.evaluators.Evaluator(
        stage_name="EvaluateWithIntervals",
        run_after=slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME,
        ptransform=_Evaluate(step, combine),
    )
