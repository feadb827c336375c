"""`edgemill report`: rewrites the report of a run from the current content of ML Metadata and the artifacts."""

from __future__ import annotations

from pathlib import Path

import typer

from components.core.errors import MetadataError
from components.core.files import write_atomically
from pipelines.file.environment import Environment, environment
from pipelines.report.render import write_report
from pipelines.report.summary import RunSummary
from pipelines.runs.metadata import latest_run, pipeline_of_run
from pipelines.runs.metadata_connection import open_existing_store

SUMMARY_NAME = "summary.json"


def keep_report(summary: RunSummary, place: Environment) -> Path:
    """Write `report.html` and `summary.json` into the run's folder, and return the path of `report.html`."""
    folder = place.runs(summary.pipeline) / summary.run_id
    write_atomically(folder / SUMMARY_NAME, summary.model_dump_json(indent=2).encode() + b"\n")
    write_report(summary, folder / "report.html")
    return folder / "report.html"


def report_again(run_id: str, root: Path | None, metadata_url: str | None) -> None:
    """Rewrite the report of a run and print its path."""
    from pipelines.runs.run import read_plan
    from pipelines.runs.summary import summarize

    place = environment(root, metadata_url)
    store = open_existing_store(place.metadata_url)
    found = latest_run(store) if run_id == "latest" else (pipeline_of_run(store, run_id), run_id)
    if found is None or found[0] is None:
        raise MetadataError(
            "there is no such run",
            where=run_id,
            bound="a run id that `edgemill run` printed, or `latest`",
            remedy="set the --root or the --metadata of the run",
        )
    typer.echo(str(keep_report(summarize(store, read_plan(place, found[0], found[1])), place)))
