"""`edgemill push`: finishes the pushes of a run whose registry was unreachable."""

from __future__ import annotations

from pathlib import Path

import typer

from components.push.delivery import PushOutcome
from edgemill.contract import print_json
from edgemill.exit_codes import ExitCode
from pipelines.file.environment import environment
from pipelines.report.render import write_report
from pipelines.runs.lock import running
from pipelines.runs.metadata import find_run
from pipelines.runs.pushing import finish_pushes
from pipelines.runs.run import read_plan
from pipelines.runs.summary import summarize
from pipelines.storage.metadata_connection import open_existing_store


def push_run(run_id: str, root: Path | None, metadata_url: str | None, *, force: bool, as_json: bool) -> ExitCode:
    """Push the staged releases of a run, print the result, and rewrite the run's report.

    Returns:
        `PUSH_STAGED` if a registry is still unreachable.
    """
    place = environment(root, metadata_url)
    store = open_existing_store(place.metadata_url)
    pipeline, run_id = find_run(store, run_id)
    plan = read_plan(place, pipeline, run_id)
    with running(place.root / pipeline):
        outcomes = []
        for outcome in finish_pushes(store, pipeline, run_id, force=force):
            outcomes.append(outcome)
            if not as_json:
                typer.echo(_line(outcome), err=outcome.staged)
        if outcomes:
            write_report(summarize(store, plan), place.runs(pipeline) / run_id)
    if as_json:
        print_json({"run_id": run_id, "pushes": outcomes})
    elif not outcomes:
        typer.echo(f"{run_id}: no release is staged")
    return ExitCode.PUSH_STAGED if any(one.staged for one in outcomes) else ExitCode.OK


def _line(outcome: PushOutcome) -> str:
    if outcome.staged:
        return f"{outcome.device}: {outcome.version} is still staged: {outcome.error}"
    places = ", ".join((outcome.path or "", *outcome.other_paths))
    return f"{outcome.device}: pushed {outcome.version} to {places}{' (signed)' if outcome.signed else ''}"
