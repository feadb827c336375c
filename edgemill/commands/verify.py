"""`edgemill verify`: compares the artifacts and releases of a run, or a release, with what was written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from components.core.errors import EdgemillError, MetadataError
from pipelines.file.environment import environment
from pipelines.runs.lineage import compared_artifacts, release_break, trace_target
from pipelines.runs.metadata import latest_run, pipeline_of_run, run_records
from pipelines.runs.metadata_connection import open_existing_store
from pipelines.runs.verification import breaks, has_digest


def verify(target: str, root: Path | None, metadata_url: str | None) -> None:
    """Print a line for each artifact, and a summary line.

    Raises:
        TamperedError: An artifact is not what was written. Raised for the first one, after all lines are printed.
        RegistryError: A release is damaged.
        MetadataError: There is no such run or release, or the store has no digest of any of its artifacts.
    """
    store = open_existing_store(environment(root, metadata_url).metadata_url)
    artifacts: Iterator[tuple[str, EdgemillError | None]]
    if Path(target).exists():
        what, name, artifacts = "release", target, compared_artifacts(trace_target(store, Path(target)))
    else:
        pipeline, run_id = _run_named(store, target)
        typer.echo(f"run {run_id} of {pipeline}")
        what, name, artifacts = "run", run_id, _compared_outputs(store, pipeline, run_id)
    compared, broken = 0, 0
    error: EdgemillError | None = None
    for label, found in artifacts:
        typer.echo(f"{label}: {'verified' if found is None else 'NOT what was written'}")
        compared, broken, error = compared + 1, broken + (found is not None), error or found
    if not compared:
        raise MetadataError(
            f"this {what} has no artifact yet that can be verified",
            where=name,
            remedy="wait until the first node of the run is complete, or name another target",
        )
    outcome = f"{broken} {'is' if broken == 1 else 'are'} not" if broken else "all are"
    typer.echo(f"{compared} artifact{'s' if compared != 1 else ''} compared: {outcome} what was written")
    if error is not None:
        raise error


def _compared_outputs(store: Any, pipeline: str, run_id: str) -> Iterator[tuple[str, EdgemillError | None]]:
    for node, record in run_records(store, pipeline, run_id).items():
        for name, artifact in record.outputs.items():
            if has_digest(artifact):
                yield f"{node} {name} {artifact.id}", breaks(store, artifact)
            if address := artifact.custom_properties["release_path"].string_value:
                # A registry keeps releases as long as its owner wants, and may be on another machine.
                with contextlib.suppress(MetadataError):
                    yield f"release {address}", release_break(store, artifact)


def _run_named(store: Any, name: str) -> tuple[str, str]:
    found = latest_run(store) if name == "latest" else (pipeline_of_run(store, name), name)
    if found is None or found[0] is None:
        raise MetadataError(
            "there is no such run or release",
            where=name,
            bound="a run id that `edgemill run` printed, `latest`, a release's folder, or a .tflite file",
            remedy="set the --root or the --metadata of the run",
        )
    return found[0], found[1]
