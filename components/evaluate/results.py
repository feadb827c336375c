"""Converts TFMA's output to the report's slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma

from components.evaluate.jackknife import EXAMPLE_COUNT
from components.facts.evaluation import MetricValue, SliceResult
from components.facts.slices import OVERALL


def load_slices(folder: Path, models: Sequence[str], metrics: Sequence[str]) -> dict[str, tuple[SliceResult, ...]]:
    """Load the slices of each model: the whole split first, then the others sorted by features and values.

    Args:
        folder: The output folder of `run_evaluation`.
        models: Names of the models, the baseline first.
        metrics: Names of the metrics in the order of the results. TFMA sorts them otherwise.
    """
    results: dict[str, list[SliceResult]] = defaultdict(list)
    for record in sorted(tfma.load_metrics(str(folder)), key=_order):
        values: dict[tuple[str, bool], dict[str, MetricValue]] = defaultdict(dict)
        for entry in record.metric_keys_and_values:
            if entry.value.WhichOneof("type") == "double_value":
                # By TFMA's rule, a single model has the name "".
                model = entry.key.model_name or models[0]
                values[model, entry.key.is_diff][entry.key.name] = _metric_value(entry)
        for model in models:
            found = values[model, False]
            examples = int(found.pop(EXAMPLE_COUNT).value)
            results[model].append(
                SliceResult(
                    slice=_slice_name(record.slice_key),
                    examples=examples,
                    metrics=_in_order(found, metrics),
                    change=_in_order(values[model, True], metrics),
                )
            )
    return {model: tuple(results[model]) for model in models}


def _in_order(found: dict[str, MetricValue], names: Sequence[str]) -> dict[str, MetricValue]:
    # A metric with several outputs has additional names, which come last.
    return {name: found[name] for name in [*(name for name in names if name in found), *found]}


def _metric_value(entry: Any) -> MetricValue:
    value = entry.value.double_value.value
    if not entry.HasField("confidence_interval"):
        return MetricValue(value=value)
    interval = entry.confidence_interval
    return MetricValue(
        value=value,
        lower=interval.lower_bound.double_value.value,
        upper=interval.upper_bound.double_value.value,
    )


def _parts(slice_key: Any) -> list[tuple[str, Any]]:
    parts = []
    for single in slice_key.single_slice_keys:
        value = getattr(single, single.WhichOneof("kind"))
        parts.append((single.column, value.decode(errors="replace") if isinstance(value, bytes) else value))
    return parts


def _slice_name(slice_key: Any) -> str:
    return ", ".join(f"{column}={value}" for column, value in _parts(slice_key)) or OVERALL


def _order(record: Any) -> tuple[Any, ...]:
    parts = _parts(record.slice_key)
    return len(parts), [column for column, _ in parts], [value for _, value in parts]
