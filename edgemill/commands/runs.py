"""`edgemill runs`, `compare`, and `open`: the folders of past runs."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from components.core.errors import SpecError, StorageError
from edgemill.contract import print_json
from edgemill.terminal import terminal
from pipelines.file.environment import environment
from pipelines.history.comparison import ComparedCandidate, ComparedDevice, Comparison, compare
from pipelines.history.past_runs import DeviceResult, PastRun, find_past_run, past_runs, summary_of
from pipelines.report.render import REPORT_NAME
from pipelines.report.status import CandidateStatus
from pipelines.report.wording import duration, figure, signed, verdict

_STYLES = {"pushed": "green", "staged": "yellow", "refused": "yellow", "failed": "red", "unreadable": "red"}


def list_runs(root: Path | None, pipeline: str | None, last: int | None, *, as_json: bool) -> None:
    """Print the runs of a root, the newest first.

    Raises:
        UnknownRunError: There are no runs.
    """
    found = past_runs(environment(root, None).root, pipeline)[:last]
    if as_json:
        print_json(found)
        return
    table = Table()
    for heading in ("run", "pipeline", "started (UTC)", "took", "result", "devices"):
        table.add_column(heading, overflow="fold")
    for run in found:
        table.add_row(
            Text(run.run_id),
            Text(run.pipeline),
            f"{run.started:%Y-%m-%d %H:%M}" if run.started else figure(None),
            duration(run.seconds),
            Text(run.state, style=_STYLES.get(run.state, "")),
            Text("\n".join(_result(run, device) for device in run.devices)),
        )
    terminal().print(table)


def _result(run: PastRun, device: DeviceResult) -> str:
    if device.candidate is None:
        return f"{device.device}: nothing passed"
    size = f", {device.bytes:,} bytes" if device.bytes is not None else ""
    pushed = "" if device.version else ", not pushed"
    return f"{device.device}: {device.candidate}, {run.metric} {figure(device.value)}{size}{pushed}"


def compare_runs(root: Path | None, before: str, after: str, *, as_json: bool) -> None:
    """Print two runs side by side.

    Raises:
        UnknownRunError: There are no runs.
        StorageError: A run has no summary, or a damaged one.
    """
    place = environment(root, None).root
    first, second = (summary_of(find_past_run(place, name)) for name in (before, after))
    comparison = compare(first, second)
    if as_json:
        print_json(comparison)
        return
    console = terminal()
    for role, run in (("before", comparison.before), ("after", comparison.after)):
        known = f", baseline {run.metric} {figure(run.baseline)} on {run.examples:,} examples" if run.examples else ""
        console.print(Text(f"{role}: {run.run_id} of {run.pipeline}, {run.verdict}{known}"), soft_wrap=True)
    if comparison.candidates:
        console.print(_candidates(comparison))
    for device in comparison.devices:
        console.print(Text(_device(device)), soft_wrap=True)


def _candidates(comparison: Comparison) -> Table:
    metric = comparison.after.metric or comparison.before.metric or "metric"
    table = Table()
    table.add_column("candidate", overflow="fold")
    for heading in (metric, "change", "bytes", "change", "latency ratio"):
        table.add_column(Text(heading), justify="right")
    table.add_column("note", overflow="fold")
    for one in comparison.candidates:
        before, after = _value(one.before, metric), _value(one.after, metric)
        first, second = (each.bytes if each else None for each in (one.before, one.after))
        latency = [figure(each.latency_ratio if each else None, 2) for each in (one.before, one.after)]
        table.add_row(
            Text(one.name),
            f"{figure(before)} → {figure(after)}",
            signed(after - before if before is not None and after is not None else None),
            f"{_bytes(first)} → {_bytes(second)}",
            f"{second - first:+,}" if first is not None and second is not None else figure(None),
            " → ".join(latency),
            Text(_note(one)),
        )
    return table


def _value(candidate: CandidateStatus | None, metric: str) -> float | None:
    found = candidate.metrics.get(metric) if candidate else None
    return found.value if found else None


def _bytes(number: int | None) -> str:
    return figure(None) if number is None else f"{number:,}"


def _note(one: ComparedCandidate) -> str:
    if one.before is None:
        return "only after"
    if one.after is None:
        return "only before"
    notes = [] if one.same_recipe else ["the recipe changed"]
    changed = [
        f"{device}: {verdict(one.before.verdicts.get(device))} → {verdict(found)}"
        for device, found in one.after.verdicts.items()
        if found != one.before.verdicts.get(device)
    ]
    return "; ".join(notes + changed)


def _device(one: ComparedDevice) -> str:
    chosen = [each.chosen or "nothing" if each else "not a device of this run" for each in (one.before, one.after)]
    return f"{one.device}: {chosen[0]}" + (" in both" if chosen[0] == chosen[1] else f" → {chosen[1]}")


def open_in_browser(root: Path | None, name: str, *, as_json: bool) -> None:
    """Open the report of a run in the browser, and print its path, or the path and the ID of the run as JSON.

    Raises:
        UnknownRunError: There are no runs.
        StorageError: The run has no report.
        SpecError: No browser opens it.
    """
    run = find_past_run(environment(root, None).root, name)
    report = run.folder / REPORT_NAME
    if not run.report:
        ended = run.state not in {"unfinished", "unreadable"}
        raise StorageError(
            "the report of this run was removed"
            if ended
            else "this run has no report, because it is still running or was killed",
            where=str(report),
            remedy=f"{'' if ended else 'wait until it finishes, or '}write it with `edgemill report {run.run_id}`",
        )
    if as_json:
        print_json({"run_id": run.run_id, "report": report})
    else:
        typer.echo(str(report))
    if not webbrowser.open(report.as_uri()):
        named = os.environ.get("BROWSER")
        raise SpecError(
            "no browser could be started" if named else "no browser was found on this machine",
            where="BROWSER" if named else "edgemill open",
            bound="a command that opens a web page",
            measured=named,
            remedy=f"{'correct or unset the environment variable BROWSER, or ' if named else ''}open {report} in a "
            "browser",
        )
