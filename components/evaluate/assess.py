"""Evaluates all candidates and combines the results into one report."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tensorflow_model_analysis as tfma

from components.core.compression import compressed_bytes
from components.core.errors import DataError, tampered
from components.core.files import bytes_of, sha256_of_bytes
from components.evaluate.eval_config import BASELINE
from components.evaluate.evaluation import run_evaluation
from components.evaluate.jackknife import EXAMPLE_COUNT
from components.evaluate.latency.measure import kernel_note
from components.evaluate.outputs.resampled import of_model, take_resampled
from components.evaluate.outputs.unequal import unequal_ranges
from components.facts.artifact_paths import OUTCOME_FILE, SERVING_FOLDER, TFLITE_FILE
from components.facts.conversion import ConversionFailure, ConversionOutcome, outcome_of
from components.facts.evaluation import CandidateReport, EvaluationReport, Latency, MetricValue, SliceResult
from components.facts.slices import OVERALL, overall
from components.facts.verified import Verified
from components.metrics.functions import load_metric
from components.metrics.metric_ranges import limits_of
from components.predict.artifact import Predictions
from components.predict.saturation import scales_of
from components.spec.evaluate import EvaluationSpec
from components.spec.recipe import Recipe

logger = logging.getLogger(__name__)

T = TypeVar("T")


def assess(
    *,
    files: Sequence[str],
    baseline: Verified,
    float_reference: Verified,
    candidates: Mapping[str, Verified],
    predictions: Sequence[Predictions],
    latencies: Mapping[str, Latency | None],
    spec: EvaluationSpec,
    label: str,
    task: str,
    output: Path,
    transform_graph: str | None = None,
    make_pipeline: Callable[[], Any],
) -> EvaluationReport:
    """Evaluate candidates. A candidate that cannot run is reported as failed and doesn't affect the others.

    Args:
        files: Gzipped TFRecord files of tf.Examples.
        baseline: The baseline Model artifact.
        float_reference: A Model artifact with the baseline as a float32 TFLite file, the reference for sizes. If its
            conversion failed and there is no file, `baseline_bytes` is the size of the SavedModel.
        candidates: Recipe name -> Model artifact, in the order of the report.
        predictions: Predictions of the baseline, and of each candidate in the same order.
        latencies: Recipe name -> time on the host; None if it was not measured.
        spec, label, task, transform_graph, make_pipeline: As for `run_evaluation`.
        output: Folder for TFMA's files.

    Raises:
        SpecError, DataError, ModelError: As for `run_evaluation`. Also DataError if all examples belong to one group.
        TamperedError: An artifact has changed since it was written, or predictions are from a different model.
    """
    for model, its in zip((baseline, *candidates.values()), predictions, strict=True):
        its.check_made_from("model", model.manifest.sha256)
    recipes = [_recipe(name, candidate) for name, candidate in candidates.items()]
    outcomes, contents, ran = {}, {}, {}
    for recipe, candidate, its in zip(recipes, candidates.values(), predictions[1:], strict=True):
        outcomes[recipe.name], content = _outcome(recipe, candidate, its)
        if content is not None:
            contents[recipe.name], ran[recipe.name] = content, its
    float_ranges = predictions[0].report.axis_ranges
    readings = run_evaluation(
        files=files,
        baseline=baseline.folder / SERVING_FOLDER,
        predictions={BASELINE: predictions[0].stored, **{name: its.stored for name, its in ran.items()}},
        spec=spec,
        label=label,
        task=task,
        output=output,
        transform_graph=transform_graph,
        make_pipeline=make_pipeline,
    )
    for artifact in (baseline, float_reference, *candidates.values(), *(its.artifact for its in predictions)):
        artifact.check()
    slices = load_slices(output, [BASELINE, *ran], [metric.name for metric in spec.metrics])
    _check_groups(spec, slices[BASELINE])
    converted = TFLITE_FILE in float_reference.manifest.files
    reference = float_reference.read(TFLITE_FILE) if converted else None
    return EvaluationReport(
        baseline_slices=slices[BASELINE],
        baseline_bytes=bytes_of(baseline.folder / SERVING_FOLDER) if reference is None else len(reference),
        candidates=tuple(
            CandidateReport(
                recipe=recipe,
                outcome=outcomes[recipe.name],
                sha256=sha256_of_bytes(contents[recipe.name]) if recipe.name in contents else None,
                compressed=compressed_bytes(contents[recipe.name]) if recipe.name in contents else None,
                slices=slices.get(recipe.name, ()),
                saturated=max(its.report.saturated.values(), default=None),
                saturated_by_output=_if_several(its.report.saturated),
                predicted_bytes=its.report.stored_bytes if recipe.name in contents else None,
                unequal_ranges=unequal_ranges(scales_of(contents[recipe.name]), float_ranges)
                if recipe.name in contents
                else (),
                latency=_with_note(latencies[recipe.name], kernel_note(recipe.scheme, outcomes[recipe.name])),
            )
            for recipe, its in zip(recipes, predictions[1:], strict=True)
        ),
        outputs=next(iter(readings.values())) if len(readings) == 1 else None,
        readings=_if_several(readings),
        spans=spans_of(spec),
    )


def spans_of(spec: EvaluationSpec) -> dict[str, float]:
    """Return the spans of metrics, as defined in `components.facts.evaluation.EvaluationReport`."""
    return {
        metric.name: (limits[1] - limits[0]) * computed.influence
        for metric in spec.metrics
        if metric.function and metric.function != "anomaly_auc" and not (computed := load_metric(metric)).is_ratio
        if (limits := limits_of(metric)) is not None
    }


def _check_groups(spec: EvaluationSpec, slices: Sequence[SliceResult]) -> None:
    whole = overall(slices)
    if spec.group_by is not None and whole is not None and whole.groups == 1:
        raise DataError(
            f"all {whole.examples:,} examples of the split {spec.split!r} belong to the same group, so nothing can be "
            "said about other groups",
            where="evaluate.group_by",
            bound="at least two values of this feature",
            measured=f"one value of {spec.group_by!r}",
            remedy="specify the feature that separates groups, evaluate more groups, or remove group_by if the "
            "examples are independent",
        )


def _if_several(by_output: dict[str, T]) -> dict[str, T]:
    return by_output if len(by_output) > 1 else {}


def _recipe(name: str, candidate: Verified) -> Recipe:
    recipe = candidate.manifest.recipe
    if recipe is None:
        raise ValueError(f"{candidate.folder} is not a candidate: its manifest has no recipe")
    # Recipes with different names can share a candidate.
    return Recipe.model_validate({**recipe, "name": name})


def _outcome(recipe: Recipe, candidate: Verified, its: Predictions) -> tuple[ConversionOutcome, bytes | None]:
    """Return a candidate's conversion outcome, and its file's content if it ran."""
    outcome = outcome_of(candidate.read(OUTCOME_FILE))
    if isinstance(outcome, ConversionFailure):
        return outcome, None
    rejected = its.report.rejected
    if rejected is not None:
        logger.warning("The candidate %s cannot run: %s", recipe.name, rejected.message)
        failure = ConversionFailure(
            scheme=recipe.scheme.kind, cause="broken_promise", message=rejected.message, remedy=rejected.remedy
        )
        return failure, None
    content = candidate.read(TFLITE_FILE)
    if sha256_of_bytes(content) != its.report.sha256:
        raise tampered(
            "predictions",
            its.artifact.place,
            f"sha256 {sha256_of_bytes(content)} of the candidate",
            str(its.report.sha256),
        )
    return outcome, content


def _with_note(latency: Latency | None, note: str) -> Latency | None:
    if latency is None or not note:
        return latency
    return latency.model_copy(update={"note": "; ".join(filter(None, (latency.note, note)))})


def load_slices(folder: Path, models: Sequence[str], metrics: Sequence[str]) -> dict[str, tuple[SliceResult, ...]]:
    """Load the slices of each model: the complete split first, then the others sorted by features and values.

    Args:
        folder: The output folder of `run_evaluation`.
        models: Names of the models, the baseline first.
        metrics: Names of the metrics in the order of the results. TFMA sorts them differently.
    """
    resampled = take_resampled(folder)
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
            parts = resampled[record.slice_key.SerializeToString(deterministic=True)]
            results[model].append(
                SliceResult(
                    slice=_slice_name(record.slice_key),
                    examples=examples,
                    metrics=_in_order(found, metrics),
                    change=_in_order(values[model, True], metrics),
                    **of_model(parts, model if len(models) > 1 else ""),
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
        value=value, lower=interval.lower_bound.double_value.value, upper=interval.upper_bound.double_value.value
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
