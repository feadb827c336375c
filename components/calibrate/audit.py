"""Audits whether a calibration sample is fit for calibrating ranges: derives findings with severities from facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from components.calibrate.sampling import Sample
from components.calibrate.survey import BINS, InputSurvey, Survey
from components.core.errors import DataError, some_of
from components.facts.audit import AuditReport, Finding, RangeFact, Severity
from components.spec.calibrate import CalibrationSpec

# With fewer examples, min/max ranges of activations are unstable. TensorFlow's guide recommends 100 to 500 examples.
FEW_SAMPLES = 100
# A sample that covers a smaller fraction of the split's range clips real inputs.
LEAST_COVERAGE = 0.9
# If the halves differ by more than this fraction of the range, more examples would widen the range further.
MOST_INSTABILITY = 0.1
# Some repeated examples are normal. A larger fraction is a leak between the splits.
MOST_REPEATED = 0.01


def audit_sample(
    sample: Sample,
    spec: CalibrationSpec,
    inputs: dict[str, npt.NDArray[Any]],
    labels: set[int] | None,
    survey: Survey,
    *,
    transformed: bool = False,
    max_overlap: float = MOST_REPEATED,
) -> AuditReport:
    """Audit a sample.

    Args:
        sample: The drawn sample.
        spec: The requested sample.
        inputs: Input name -> decoded sample, [N, ...].
        labels: Distinct integer labels in the sample; None if the labels aren't classes.
        survey: Facts about the sampled split and the evaluation split.
        transformed: Whether the examples went through a transform graph, which can make different examples equal.
        max_overlap: The largest share of the sample that may also occur in the evaluation split.
    """
    ranges = tuple(_range_fact(name, values, survey.inputs[name], spec.seed) for name, values in inputs.items())
    # If only some inputs are constant, such as a flag, calibration is still possible.
    dead = bool(inputs) and all(_is_constant(values) for values in inputs.values())
    findings = [*_size(sample, spec), *_missing(sample, spec, labels, survey)]
    findings += _repeated(sample, survey, transformed, max_overlap)
    for fact in ranges:
        values = inputs[fact.input]
        findings += [
            *_not_finite(fact.input, values, survey.inputs[fact.input]),
            *_constant(fact.input, values, dead),
            *_coverage(fact),
            *_stability(fact),
        ]
    return AuditReport(
        asked=spec.samples,
        available=sample.available,
        taken=len(sample.examples),
        seed=spec.seed,
        strata=sample.strata,
        ranges=ranges,
        findings=tuple(findings),
    )


def finite_range(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and largest finite value, or (0, 0) if there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def refuse_errors(audit: AuditReport) -> None:
    """Raise a DataError that lists every finding of severity error."""
    errors = [finding for finding in audit.findings if finding.severity == "error"]
    if errors:
        raise DataError(
            "the calibration sample cannot be used: "
            + " | ".join(f"{one.where}: {one.message}" if one.where else one.message for one in errors),
            where="calibrate",
            remedy="; ".join(dict.fromkeys(finding.remedy for finding in errors)),
        )


def _range_fact(name: str, values: npt.NDArray[Any], split: InputSurvey, seed: int) -> RangeFact:
    low, high = finite_range(values)
    histogram, _ = np.histogram(values[np.isfinite(values)], BINS, (low, high))
    order = np.random.default_rng(seed).permutation(len(values))
    first, second = values[order[: len(order) // 2]], values[order[len(order) // 2 :]]
    whole = (split.low, split.high) if split.low <= split.high else (low, high)
    return RangeFact(
        input=name,
        sample=(low, high),
        split=whole,
        halves=(finite_range(first), finite_range(second)),
        histogram=tuple(int(count) for count in histogram),
        split_histogram=tuple(int(count) for count in split.histogram),
    )


def _size(sample: Sample, spec: CalibrationSpec) -> Iterator[Finding]:
    taken = len(sample.examples)
    if taken < spec.samples:
        found = f"{spec.samples} examples were requested, but the split {spec.split!r} has only {taken}"
        remedy = "request fewer samples, or provide more data"
        severity: Severity = "warning" if taken else "error"
        yield _finding(severity, "size", "calibrate.samples", f"{found}, so all were taken", remedy)
    if 0 < taken < FEW_SAMPLES:
        found = f"{taken} examples is a small sample: ranges usually stabilize at {FEW_SAMPLES} to 500 examples"
        yield _finding("info", "size", "calibrate.samples", found, "request more samples")


def _missing(sample: Sample, spec: CalibrationSpec, labels: set[int] | None, survey: Survey) -> Iterator[Finding]:
    left_out = [stratum.value for stratum in sample.strata if not stratum.taken]
    if left_out:
        found = f"{len(left_out)} of {len(sample.strata)} values are not in the sample: {some_of(left_out)}"
        remedy = "request more samples, or set `stratify: balanced`"
        yield _finding("warning", "missing_stratum", str(spec.stratify_by), found, remedy)
    if labels is not None and survey.labels is not None and (absent := sorted(survey.labels - labels)):
        found = f"{len(absent)} of {len(survey.labels)} classes are not in the sample: {some_of(map(str, absent))}"
        remedy = "stratify by the label, or request more samples"
        yield _finding("warning", "missing_stratum", "label", found, remedy)


def _repeated(sample: Sample, survey: Survey, transformed: bool, max_overlap: float) -> Iterator[Finding]:
    if survey.repeated and sample.examples:
        share = survey.repeated / len(set(sample.examples))
        found = f"{survey.repeated} of the sampled examples ({share:.1%}) also occur in the evaluation split"
        found += " after the transformation; before it, they may differ" if transformed else ""
        remedy = "remove the shared examples, or hash the splits by a feature that keeps such examples together"
        yield _finding("error" if share > max_overlap and not transformed else "warning", "leak", "", found, remedy)


def _not_finite(name: str, values: npt.NDArray[Any], split: InputSurvey) -> Iterator[Finding]:
    in_sample = int(values.size - np.isfinite(values).sum())
    if in_sample or split.not_finite:
        found = f"{in_sample} values in the sample and {split.not_finite} in its split are NaN or infinite"
        remedy = "remove or repair these examples, or replace such values in the task's decode()"
        yield _finding("error", "non_finite", _input(name), found, remedy)


def _is_constant(values: npt.NDArray[Any]) -> bool:
    return values.size > 0 and bool((values == values.flat[0]).all())


def _constant(name: str, values: npt.NDArray[Any], dead: bool) -> Iterator[Finding]:
    if not values.size:
        return
    flat = values.reshape(len(values), -1)
    if _is_constant(values):
        found, remedy = (
            f"every value in the sample is {flat.flat[0]}",
            "check the task's decode(): ranges cannot be calibrated on a constant",
        )
        yield _finding("error" if dead else "warning", "constant", _input(name), found, remedy)
    elif values.ndim == 2:  # One number per feature. In images, constant pixels are normal.
        columns = np.flatnonzero((flat == flat[0]).all(axis=0))
        if columns.size:
            found = f"{columns.size} of {flat.shape[1]} features are constant: {some_of(map(str, columns))}"
            remedy = "drop them, or request more samples if they vary in the data"
            yield _finding("warning", "constant", _input(name), found, remedy)


def _coverage(fact: RangeFact) -> Iterator[Finding]:
    width = fact.split[1] - fact.split[0]
    covered = (fact.sample[1] - fact.sample[0]) / width if width > 0 else 1.0
    if covered < LEAST_COVERAGE:
        found = (
            f"the calibration sample ranges from {fact.sample[0]:.4g} to {fact.sample[1]:.4g}, its split from "
            f"{fact.split[0]:.4g} to {fact.split[1]:.4g}: {covered:.0%} of that range is covered"
        )
        remedy = "raise `calibrate.samples`; values beyond the sample's range are clipped"
        yield _finding("warning", "range", _input(fact.input), found, remedy)


def _stability(fact: RangeFact) -> Iterator[Finding]:
    width = fact.sample[1] - fact.sample[0]
    (low, high), (other_low, other_high) = fact.halves
    difference = max(abs(low - other_low), abs(high - other_high)) / width if width > 0 else 0.0
    if difference > MOST_INSTABILITY:
        found = (
            f"two halves of the calibration sample have ranges [{low:.4g}, {high:.4g}] and "
            f"[{other_low:.4g}, {other_high:.4g}]: they differ by {difference:.0%} of the sample's range"
        )
        remedy = "raise `calibrate.samples` until the halves agree"
        yield _finding("warning", "stability", _input(fact.input), found, remedy)


def _finding(severity: Severity, check: str, where: str, message: str, remedy: str) -> Finding:
    return Finding(severity=severity, check=check, where=where, message=message, remedy=remedy)


def _input(name: str) -> str:
    return f"input {name}" if name else "the model's input"
