"""`edgemill verify`: whether the artifacts of a run or of a release are what was written, file by file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from components.errors import EdgemillError, MetadataError
from pipelines.environment import environment
from pipelines.lineage import first_break, trace_target
from pipelines.metadata import latest_run, open_existing_store, pipeline_of_run, run_records
from pipelines.report.summary import LineageNode
from pipelines.verification import breaks, has_digest


def verify(target: str, root: Path | None, metadata_url: str | None) -> None:
    """Print a line per artifact.

    Raises:
        TamperedError: One of them is not what was written; the first, after all lines are printed.
        RegistryError: The release itself is damaged.
        MetadataError: There is no such run or release, or the run has no artifact yet.
    """
    store = open_existing_store(environment(root, metadata_url).metadata_url)
    if Path(target).exists():
        node = trace_target(store, Path(target))
        for line in _lines(node):
            typer.echo(line)
        error: EdgemillError | None = first_break(node)
    else:
        error = None
        pipeline, run_id = _run_named(store, target)
        typer.echo(f"run {run_id} of {pipeline}")
        for label, artifact in _outputs(store, pipeline, run_id):
            found = breaks(store, artifact)
            typer.echo(f"{label}: {'verified' if found is None else 'NOT what was written'}")
            error = error or found
    if error is not None:
        raise error


def _run_named(store: Any, name: str) -> tuple[str, str]:
    found = latest_run(store) if name == "latest" else (pipeline_of_run(store, name), name)
    if found is None or found[0] is None:
        raise MetadataError(
            "there is no such run or release",
            where=name,
            bound="a run id that `edgemill run` printed, `latest`, a release's folder or a .tflite file",
            remedy="name the run's --root or --metadata",
        )
    return found[0], found[1]


def _outputs(store: Any, pipeline: str, run_id: str) -> list[tuple[str, Any]]:
    outputs = [
        (f"{node} {name} {artifact.id}", artifact)
        for node, record in run_records(store, pipeline, run_id).items()
        for name, artifact in record.outputs.items()
        if has_digest(artifact)
    ]
    if not outputs:
        raise MetadataError(
            "this run has no artifact yet that could be verified",
            where=run_id,
            remedy="wait until its first node is complete, or name another run",
        )
    return outputs


def _lines(node: LineageNode) -> Iterator[str]:
    if "verified" in node.details:
        yield f"{node.label}: {'verified' if node.details['verified'] == 'yes' else 'NOT what was written'}"
    for child in node.children:
        yield from _lines(child)
