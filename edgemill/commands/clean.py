"""`edgemill clean`: removes old runs and their artifacts, pipeline by pipeline."""

from __future__ import annotations

import math
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path

from components.core.errors import SpecError
from components.core.files import is_folder
from edgemill.contract import print_json
from edgemill.terminal import terminal
from pipelines.file.environment import environment
from pipelines.runs.lock import removing
from pipelines.runs.removal import remove
from pipelines.runs.retention import RetentionPlan, Rules, known_pipelines, plan_removal
from pipelines.storage.metadata_connection import open_existing_store


def clean_root(
    root: Path | None,
    metadata_url: str | None,
    keep_runs: int | None,
    older_than_days: float | None,
    pipeline: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove the runs that no rule keeps, and print them.

    Raises:
        SpecError: There is no rule or no such pipeline, or a run is active.
        MetadataError: There is no store, it cannot be reached, or it does not know a run of the root.
        StorageError: A folder cannot be removed.
    """
    if keep_runs is None and older_than_days is None:
        raise SpecError(
            "no rule says which runs are old",
            where="edgemill clean",
            bound="--keep-runs, --older-than, or both",
            remedy="set at least one of them; a run is kept if either rule keeps it",
        )
    if older_than_days is not None and not math.isfinite(older_than_days):
        raise SpecError(
            "this is not a number of days",
            where="--older-than",
            bound="a finite number, 0 or more",
            measured=older_than_days,
            remedy="set a finite number, or omit the option",
        )
    place = environment(root, metadata_url)
    unknown = SpecError(
        "no pipeline of this name has run here",
        where=f"--pipeline {pipeline}",
        bound="a pipeline with runs in this root and its metadata store",
        measured=str(place.root),
        remedy="choose another pipeline or another --root, or set the --metadata that the pipeline ran with",
    )
    if pipeline is not None and not is_folder(place.runs(pipeline)):
        raise unknown
    store = open_existing_store(place.metadata_url)
    # Find all pipelines before anything is removed from the first.
    pipelines = known_pipelines(store, place)
    if pipeline is not None and pipeline not in pipelines:
        raise unknown
    rules = Rules(keep_runs=keep_runs, older_than_days=older_than_days)
    plans = []
    for name in pipelines if pipeline is None else [pipeline]:
        with nullcontext() if dry_run else removing(place.root / name):
            plan = plan_removal(store, place, name, rules, datetime.now(timezone.utc))
            if not as_json:
                _print_plan(plan, dry_run=dry_run)
            if not dry_run:
                with terminal().status(f"removing from {name}") as status:
                    remove(store, place, plan, lambda path: status.update(f"removing {path}"))
        plans.append(plan)
    if not plans and not as_json:
        terminal().print(f"no pipeline in this metadata store has runs in {place.root}", soft_wrap=True)
    if as_json:
        content = {"dry_run": dry_run, "pipelines": [plan.model_dump(mode="json") for plan in plans]}
        print_json(content)


def _print_plan(plan: RetentionPlan, *, dry_run: bool) -> None:
    gone = [run for run in plan.runs if not run.kept]
    would = "would remove" if dry_run else "removes"
    console = terminal()
    console.print(
        f"{plan.pipeline}: {would} {len(gone)} of {len(plan.runs)} runs and {len(plan.artifacts)} artifacts, "
        f"{plan.freed_bytes:,} bytes",
        soft_wrap=True,
    )
    for run in plan.runs:
        console.print(f"  {'keeps  ' if run.kept else would} {run.run_id}: {run.why}", soft_wrap=True)
