"""The content of the results page: filtered and sorted runs, trends, Pareto fronts, and channels of registries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from components.core.errors import EdgemillError, MetadataError
from components.push.registry import registry_at
from pipelines.history.past_runs import DeviceResult, FrontPoint, PastRun, past_runs, summary_of
from pipelines.history.trend_chart import trend
from pipelines.report.figures import accuracy_against_size

# A chart with more points than this shows only a band.
_MOST_NIGHTS = 120
# Draws one chart at a time, because matplotlib's settings belong to the process.
_DRAWING = threading.Lock()


class Wanted(NamedTuple):
    """Which runs to show, and in which order. Empty text matches every run."""

    pipeline: str = ""
    state: str = ""
    text: str = ""
    sort: str = "started"
    descending: bool = True


class Night(NamedTuple):
    """The result of one run for one device."""

    run: PastRun
    device: DeviceResult


class Trend(NamedTuple):
    """The runs that chose a candidate for one device, the oldest first, and charts of their metric and sizes."""

    device: str
    nights: list[Night]
    metric: str
    value_chart: str | None
    bytes_chart: str | None


class FrontRow(NamedTuple):
    """A candidate that was on the Pareto front of its run."""

    run: PastRun
    point: FrontPoint


class Channel(NamedTuple):
    """A pointer that devices follow. `error` says why they cannot; otherwise it is empty."""

    pointer: str
    release: str
    error: str
    pipeline: str
    device: str


def all_runs(root: Path) -> list[PastRun]:
    """The runs of a root, the newest first; none if nothing has run yet."""
    try:
        return past_runs(root)
    except MetadataError:
        return []


def selected(runs: Iterable[PastRun], wanted: Wanted) -> list[PastRun]:
    """The runs that match, in the requested order. Runs without a value come last in either order."""
    key = SORT_KEYS.get(wanted.sort, SORT_KEYS["started"])
    found = [run for run in runs if _matches(run, wanted)]
    known = sorted((run for run in found if key(run) is not None), key=key, reverse=wanted.descending)
    return known + [run for run in found if key(run) is None]


def _matches(run: PastRun, wanted: Wanted) -> bool:
    words = [
        run.run_id,
        run.pipeline,
        *(f"{one.device} {one.candidate or ''} {one.version or ''}" for one in run.devices),
    ]
    return (
        wanted.pipeline in {"", run.pipeline}
        and wanted.state in {"", run.state}
        and wanted.text.lower() in " ".join(words).lower()
    )


def _first(run: PastRun, field: str) -> Any:
    return next((getattr(one, field) for one in run.devices if getattr(one, field) is not None), None)


SORT_KEYS: dict[str, Callable[[PastRun], Any]] = {
    "started": lambda run: run.run_id,
    "pipeline": lambda run: run.pipeline,
    "took": lambda run: run.seconds,
    "result": lambda run: run.state,
    "metric": lambda run: _first(run, "value"),
    "bytes": lambda run: _first(run, "bytes"),
}


def trends(runs: Sequence[PastRun]) -> list[Trend]:
    """One trend for each device of the runs of a pipeline, in the order of its newest run."""
    names = dict.fromkeys(one.device for run in runs for one in run.devices)
    return [_trend(name, index, runs) for index, name in enumerate(names)]


def _trend(device: str, index: int, runs: Sequence[PastRun]) -> Trend:
    nights = [
        Night(run, one) for run in reversed(runs) for one in run.devices if one.device == device and one.candidate
    ]
    measured = [
        (night.run.started, night.device.value, night.device.bytes, night.run.baseline)
        for night in nights
        if night.run.started and night.device.value is not None and night.device.bytes is not None
    ][-_MOST_NIGHTS:]
    metric = next((run.metric for run in runs if run.metric), None) or "metric"
    days: list[datetime] = [day for day, _, _, _ in measured]
    baselines = [baseline for _, _, _, baseline in measured if baseline is not None]
    with _DRAWING:
        values = trend(
            days,
            [value for _, value, _, _ in measured],
            metric,
            f"value{index}",
            baselines if len(baselines) == len(measured) else None,
        )
        sizes = trend(days, [size / 1024 for _, _, size, _ in measured], "file size, KiB", f"bytes{index}")
    return Trend(device, nights, metric, values, sizes)


def front_picture(run: PastRun) -> str | None:
    """The chart of the first metric against the file size of a run."""
    summary = summary_of(run)
    with _DRAWING:
        return accuracy_against_size(summary)


def fronts(runs: Sequence[PastRun]) -> dict[str, list[FrontRow]]:
    """Device -> the candidates that were on the Pareto front of their run, the newest run first."""
    found: dict[str, list[FrontRow]] = {}
    for run in runs:
        for one in run.devices:
            if one.front:
                found.setdefault(one.device, []).extend(FrontRow(run, point) for point in one.front)
    return found


def channels(runs: Iterable[PastRun]) -> list[Channel]:
    """The channels of all registries that runs pushed to, each once."""
    addresses: dict[tuple[str, str], tuple[str, str, str]] = {}
    for run in runs:
        for one in run.devices:
            if one.release is not None:
                addresses.setdefault(
                    (one.release.rpartition("/")[0], run.pipeline), (one.release, run.pipeline, one.device)
                )
    found: dict[str, Channel] = {}
    for address, pipeline, device in addresses.values():
        try:
            for pointer, target in registry_at(address).channels(address):
                error = str(target) if isinstance(target, EdgemillError) else ""
                release = "" if isinstance(target, EdgemillError) else target.address
                found.setdefault(pointer, Channel(pointer, release, error, pipeline, device))
        except (EdgemillError, OSError) as error:
            found.setdefault(address, Channel(address.rpartition("/")[0], "", str(error), pipeline, device))
    return list(found.values())
