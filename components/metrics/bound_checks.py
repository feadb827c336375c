"""Checks of the gate's bounds against the metrics that they bound."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from components.core.errors import SpecError
from components.metrics.metric_ranges import limits_of, values_of
from components.metrics.ranks import is_exact_auc
from components.spec.gate import RISES, GateSpec, MetricBound, PreferenceSpec, values_of_slice
from components.spec.metric import MetricSpec

# Suffixes of the lowercase names of metric classes, and ready-made functions, that are means or ratios of sums.
_AVERAGES = ("accuracy", "error", "crossentropy")
_AVERAGE_FUNCTIONS = (
    *("step_accuracy", "word_error_rate", "character_error_rate", "cosine_similarity", "keypoint_error"),
    *("precision", "recall", "f1"),
)
# Classes of Keras that are means over examples. Classes of TFMA and of the user don't store values of single examples.
MEANS = frozenset(
    {
        *("Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy", "TopKCategoricalAccuracy"),
        *("SparseTopKCategoricalAccuracy", "BinaryCrossentropy", "CategoricalCrossentropy", "CosineSimilarity"),
        *("SparseCategoricalCrossentropy", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError"),
        *("MeanSquaredLogarithmicError", "LogCoshError", "Hinge", "SquaredHinge", "CategoricalHinge", "Poisson"),
        "KLDivergence",
    }
)
# Classes for which a function is tested instead -> that function.
_TESTED_INSTEAD = {"Precision": "precision", "Recall": "recall", "F1Score": "f1"}


def bound_errors(gate: GateSpec, evaluated: Sequence[MetricSpec]) -> Iterator[SpecError]:
    """Yield an error for each bound, and for a tolerance, that doesn't fit the direction or the range of its metric."""
    metrics = {metric.name: metric for metric in evaluated}
    for index, bound in enumerate(gate.metrics):
        if metric := metrics.get(bound.name):
            wrong = list(_directions(bound, metric.less_is_better, f"gate.metrics[{index}]"))
            yield from wrong
            # One error for each bound, because a bound in the wrong direction often also holds for every model.
            said = {error.where for error in wrong}
            idle = _idle_bounds(bound, values_of(metric), f"gate.metrics[{index}]")
            yield from (error for error in idle if error.where not in said)
    yield from _impossible_averages(gate, metrics)
    # The first bound names the metric of the preference.
    if metric := metrics.get(gate.metrics[0].name):
        yield from _idle_tolerance(gate.prefer, metric.name, values_of(metric))


def untestable(gate: GateSpec, evaluated: Sequence[MetricSpec]) -> Iterator[SpecError]:
    """Yield an error for each metric that must pass a test but can't, so that no candidate could pass."""
    metrics = {metric.name: metric for metric in evaluated}
    for index, bound in enumerate(gate.metrics if gate.decide_on == "test" else ()):
        metric = metrics.get(bound.name)
        if metric is None or not (bound.holds_without_champion or gate.champion == "require"):
            continue
        if not _can_be_tested(metric):
            yield SpecError(
                f"no candidate can pass `decide_on: test`, because the metric {metric.name!r} can't be tested",
                where=f"gate.metrics[{index}].name",
                bound="a mean, a ratio of sums, or a function, with a `range`; or an area under the ROC curve",
                measured=metric.class_name,
                remedy=_to_test(metric.class_name),
            )
        elif limits_of(metric) is None:
            yield SpecError(
                f"no candidate can pass `decide_on: test`, because the metric {metric.name!r} has no known range",
                where=f"gate.metrics[{index}].name",
                bound="the smallest and the largest value that an example can have",
                measured=f"range: {list(values)}" if (values := metric.range) else "no range",
                remedy=f"declare it in evaluate.metrics, such as `{{name: {metric.name}, "
                f"{'function' if metric.function else 'class_name'}: {metric.function or metric.class_name}, "
                "range: [0, 5]}`, or write `decide_on: interval`",
            )


def _can_be_tested(metric: MetricSpec) -> bool:
    """False for classes that are neither Keras means nor areas, such as TFMA's precision, or a user's class."""
    return bool(metric.function) or is_exact_auc(metric.class_name, metric.config) or metric.class_name in MEANS


def _to_test(class_name: str) -> str:
    if function := _TESTED_INSTEAD.get(class_name):
        return (
            f"use the function instead, such as `{{name: {function}, function: {function}, config: {{class_id: 1}}}}`"
        )
    return (
        "write the metric as a function or a `RatioOfSums` with a `range` (docs/metrics.md), bound something else, or "
        "write `decide_on: interval`"
    )


def _directions(bound: MetricBound, less_is_better: bool | None, where: str) -> Iterator[SpecError]:
    """Yield an error for each bound that rejects the better values. Both absolute bounds together are a valid range."""
    if less_is_better is None:
        return
    fewer = "less" if less_is_better else "more"
    meant = {"at_least": "at_most", **RISES}
    if not less_is_better:
        meant = {right: wrong for wrong, right in meant.items()}
    for wrong, right in meant.items():
        is_range = wrong in {"at_least", "at_most"} and getattr(bound, right) is not None
        limit = getattr(bound, wrong)
        if limit is not None and not is_range:
            yield SpecError(
                f"{fewer} of the metric {bound.name!r} is better, so this bound lets the worst values pass",
                where=f"{where}.{wrong}",
                bound=right,
                measured=f"{wrong}: {limit}",
                remedy=f"use {right} instead",
            )


def _idle_bounds(bound: MetricBound, values: tuple[float, float] | None, where: str) -> Iterator[SpecError]:
    """Yield an error for each bound that every model meets, or that no model meets."""
    if values is None:
        return
    least, most = values
    low, high = bound.at_least, bound.at_most
    outcomes: dict[str, str] = {}
    if low is not None and not least < low <= most:
        outcomes["at_least"] = "never" if low > most else "always"
    if high is not None and not least <= high < most:
        outcomes["at_most"] = "never" if high < least else "always"
    for field in (*RISES, *RISES.values()):
        if getattr(bound, field) is not None and getattr(bound, field) >= most - least:
            outcomes[field] = "always"
    for field, how in outcomes.items():
        yield SpecError(
            f"this bound {how} holds, regardless of the model",
            where=f"{where}.{field}",
            bound=f"{bound.name!r} ranges from {least:g} to {most:g}",
            measured=f"{getattr(bound, field):g}",
            remedy="set a bound that a good model meets and a bad model doesn't, or remove it",
        )


def _impossible_averages(gate: GateSpec, metrics: Mapping[str, MetricSpec]) -> Iterator[SpecError]:
    """Yield an error for two bounds on an average over the same examples, divided into slices in two ways."""
    for (index, low), (other, high) in itertools.permutations(enumerate(gate.metrics), 2):
        metric = metrics.get(low.name)
        if low.name != high.name or metric is None or not _is_average(metric):
            continue
        if low.at_least is None or high.at_most is None or low.at_least <= high.at_most:
            continue
        pairs = itertools.product(low.slices or ("",), high.slices or ("",))
        pair = next((each for each in pairs if _divide_the_same_examples(*map(values_of_slice, each))), None)
        if pair is None:
            continue
        here, there = map(_slice_in_words, pair)
        # The error is about the larger slices: their values are averages of the smaller ones'.
        if len(values_of_slice(pair[0])) <= len(values_of_slice(pair[1])):
            place, field, limits, by = index, f"at_least {low.at_least:g}", f"at most {high.at_most:g}", there
        else:
            place, field, limits, by = other, f"at_most {high.at_most:g}", f"at least {low.at_least:g}", here
        yield SpecError(
            f"the average of all slices can't be {field.replace('_', ' ')} if each is {limits}",
            where=f"gate.metrics[{place}].{field.split()[0]}",
            bound=f"a value that the bound on {by} permits",
            measured=f"at_least: {low.at_least:g} on {here}, at_most: {high.at_most:g} on {there}",
            remedy="correct one of the two bounds",
        )


def _divide_the_same_examples(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether slices with different features contain the same examples together.

    A feature that only one of them names must stand for all of its values.
    """
    return one.keys() != other.keys() and all(
        ("" in (one[name], other[name]) or one[name] == other[name])
        if name in one and name in other
        else not (one.get(name) or other.get(name))
        for name in {*one, *other}
    )


def _slice_in_words(named: str) -> str:
    if not named:
        return "the whole split"
    return named if all(values_of_slice(named).values()) else f"each {named}"


def _is_average(metric: MetricSpec) -> bool:
    """Whether the value on the complete split is known to be between the values on the slices of a feature."""
    return metric.class_name.lower().endswith(_AVERAGES) or metric.function in _AVERAGE_FUNCTIONS


def _idle_tolerance(prefer: PreferenceSpec, metric: str, values: tuple[float, float] | None) -> Iterator[SpecError]:
    """Yield an error for a tolerance that every candidate is within."""
    if values is not None and prefer.within is not None and prefer.within >= values[1] - values[0]:
        least, most = values
        yield SpecError(
            "every candidate is within this tolerance, regardless of the model",
            where="gate.prefer.within",
            bound=f"less than {most - least:g}: {metric!r}, the first metric of the gate, ranges from {least:g} to "
            f"{most:g}",
            measured=f"{prefer.within:g}",
            remedy=f"set a smaller tolerance, such as {(most - least) / 200:g}, or write `prefer: {prefer.by}`",
        )
