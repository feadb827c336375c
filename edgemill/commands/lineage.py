"""`edgemill lineage`, `verify`, and `report`: what the metadata store and the artifacts say about past runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import typer
from rich.text import Text
from rich.tree import Tree

from components.core.errors import EdgemillError, MetadataError
from components.object_store.bucket import is_address
from components.push.registry import registry_at
from edgemill.terminal import terminal
from pipelines.file.environment import environment
from pipelines.report.summary import LineageNode
from pipelines.runs.lineage import channel_breaks, compared_artifacts, first_break, release_break, trace_target
from pipelines.runs.metadata import find_run, run_records
from pipelines.runs.metadata_connection import open_existing_store
from pipelines.runs.releases import releases_of
from pipelines.runs.verification import breaks, has_digest


def print_lineage(target: str, root: Path | None, metadata_url: str | None, *, as_json: bool, short: bool) -> None:
    """Print the lineage of a release or a model file, and compare each artifact with what was written.

    JSON is always complete. A `short` tree has one line for each artifact.

    Raises:
        TamperedError: An artifact differs. Raised after the lineage is printed.
    """
    node = trace_target(open_existing_store(environment(root, metadata_url).metadata_url), target)
    if as_json:
        typer.echo(node.model_dump_json(indent=2))
    else:
        terminal().print(short_tree_of(node) if short else tree_of(node))
    if (broken := first_break(node)) is not None:
        raise broken


def tree_of(node: LineageNode) -> Tree:
    """A node and everything that it was made from, for `rich.console.Console.print`."""
    tree = Tree(Text(node.label, style="bold"))
    for name, value in node.details.items():
        tree.add(Text.assemble((f"{name}:", "dim"), f" {value}"))
    for child in node.children:
        tree.add(tree_of(child))
    return tree


def short_tree_of(node: LineageNode) -> Tree:
    """Like `tree_of`, with one line per artifact: its maker, its digest, and whether it has changed."""
    makers = [child for child in node.children if child.kind == "execution"]
    line = Text(node.label, style="bold")
    line.append("".join(f" by {maker.label}" for maker in makers), style="not bold")
    if facts := list(_facts(node)):
        line.append(f": {', '.join(facts)}", style="not bold")
    tree = Tree(line)
    for child in [one for maker in makers for one in maker.children] if makers else node.children:
        tree.add(short_tree_of(child))
    return tree


def _facts(node: LineageNode) -> Iterator[str]:
    if "device" in node.details:
        yield node.details["device"]
    if "release_path" in node.details:
        yield f"release {node.details['version']}"
    elif "sha256" in node.details:
        yield f"sha256 {node.details['sha256'][:12]}"
    for name in ("lineage", "content"):
        if name in node.details:
            yield node.details[name]
    if "verified" in node.details:
        yield "verified" if node.details["verified"] == "yes" else "CHANGED"


def verify(target: str, root: Path | None, metadata_url: str | None) -> None:
    """Print a line for each artifact, and a summary line.

    Raises:
        TamperedError: An artifact has changed since it was written. Raised for the first one, after all lines are
            printed.
        RegistryError: A release is damaged.
        MetadataError: There is no such run or release, or the store has no digest of any of its artifacts.
    """
    store = open_existing_store(environment(root, metadata_url).metadata_url)
    artifacts: Iterator[tuple[str, EdgemillError | None]]
    if is_address(target) or Path(target).exists():
        artifacts = chain(compared_artifacts(trace_target(store, target)), _channels(store, _release_of(target)))
        what, name = "release", target
    else:
        known = "`latest`, a release's folder or address, or a .tflite file"
        pipeline, run_id = find_run(store, target, what="run or release", known=known)
        typer.echo(f"run {run_id} of {pipeline}")
        what, name, artifacts = "run", run_id, _compared_outputs(store, pipeline, run_id)
    compared, broken = 0, 0
    error: EdgemillError | None = None
    for label, found in artifacts:
        typer.echo(f"{label}: {'verified' if found is None else 'CHANGED'}")
        compared, broken, error = compared + 1, broken + (found is not None), error or found
    if not compared:
        raise MetadataError(
            f"this {what} has no artifact yet that can be verified",
            where=name,
            remedy="wait until the first node of the run is complete, or name another target",
        )
    outcome = f"{broken} {'has' if broken == 1 else 'have'} changed since written" if broken else "all unchanged"
    typer.echo(f"{compared} artifact{'s' if compared != 1 else ''} compared: {outcome}")
    if error is not None:
        raise error


def _release_of(target: str) -> list[str]:
    found = registry_at(target).resolve(target)
    return [] if found.manifest_sha256 is None else [found.address]


def _channels(store: Any, addresses: Iterable[str]) -> Iterator[tuple[str, EdgemillError | None]]:
    """Yield each channel of some releases once."""
    found = {name: broken for address in addresses for name, broken in channel_breaks(store, address)}
    yield from ((f"channel {name}", broken) for name, broken in found.items())


def _compared_outputs(store: Any, pipeline: str, run_id: str) -> Iterator[tuple[str, EdgemillError | None]]:
    addresses = []
    for record in run_records(store, pipeline, run_id).values():
        for artifact in record.outputs.values():
            if has_digest(artifact):
                # The last parts are the node, the output, and the execution.
                yield "/".join(artifact.uri.rstrip("/").split("/")[-3:]), breaks(store, artifact)
            for address in releases_of(artifact):
                # A registry keeps releases as long as its owner wants, and may be on another machine.
                addresses.append(address)
                try:
                    yield f"release {address}", release_break(store, artifact, address)
                except MetadataError:
                    typer.echo(f"release {address}: not there, not compared")
    yield from _channels(store, addresses)


def report_again(run_id: str, root: Path | None, metadata_url: str | None) -> None:
    """Rewrite the report of a run and print its path."""
    from pipelines.report.render import write_report
    from pipelines.runs.run import read_plan
    from pipelines.runs.summary import summarize

    place = environment(root, metadata_url)
    store = open_existing_store(place.metadata_url)
    summary = summarize(store, read_plan(place, *find_run(store, run_id)))
    typer.echo(str(write_report(summary, place.runs(summary.pipeline) / summary.run_id)))
