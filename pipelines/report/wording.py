"""Formats figures for the report and the terminal."""

from __future__ import annotations

import math

from components.facts.evaluation import MetricValue


def figure(value: float | None, digits: int = 4) -> str:
    """Format a number with fixed decimal places; a dash for None and NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"  # noqa: RUF001


def signed(value: float | None, digits: int = 4) -> str:
    """Format as `figure` does, with a sign unless the value rounds to zero."""
    if value is None or math.isnan(value):
        return figure(value, digits)
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else figure(0.0, digits)


def with_interval(metric: MetricValue | None, digits: int = 4) -> str:
    """Format a metric as `0.8910 [0.8720, 0.9090]`."""
    if metric is None:
        return figure(None)
    if metric.lower is None or metric.upper is None:
        return figure(metric.value, digits)
    return f"{figure(metric.value, digits)} [{figure(metric.lower, digits)}, {figure(metric.upper, digits)}]"


def times(ratio: float | None) -> str:
    """Format a ratio with a multiplication sign."""
    return figure(None) if ratio is None else f"{ratio:.2f}×"  # noqa: RUF001


def duration(seconds: float | None) -> str:
    """Format a duration as `31.4 s` or `2 min 5 s`."""
    if seconds is None:
        return figure(None)
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def verdict(value: str | None) -> str:
    """Format a verdict for display."""
    return figure(None) if value is None else value.replace("_", " ")
