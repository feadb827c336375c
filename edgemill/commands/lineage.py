"""`edgemill lineage`, `verify`, and `report`: facts about past runs, from the metadata store and the artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, starmap
from pathlib import Path
from typing import Any, Literal, NamedTuple

import typer
from rich.text import Text
from rich.tree import Tree

from components.core.errors import EdgemillError, MetadataError, counted
from components.push.registry import is_release_address, registry_at
from edgemill.contract import print_json
from edgemill.terminal import terminal
from pipelines.file.environment import environment
from pipelines.report.summary import LineageNode
from pipelines.runs.lineage import channel_breaks, compared_artifacts, first_break, release_break, trace_target
from pipelines.runs.metadata import find_run, run_records
from pipelines.runs.releases import releases_of
from pipelines.runs.verification import breaks, has_digest
from pipelines.storage.metadata_connection import open_existing_store


def print_lineage(target: str, root: Path | None, metadata_url: str | None, *, as_json: bool, short: bool) -> None:
    """Print the lineage of a release or a model file, and compare each artifact with its record.

    JSON is always complete. A `short` tree has one line for each artifact.

    Raises:
        TamperedError: An artifact differs. Raised after the lineage is printed.
    """
    node = trace_target(open_existing_store(environment(root, metadata_url).metadata_url), target)
    if as_json:
        print_json(node)
    else:
        terminal().print(short_tree_of(node) if short else tree_of(node))
    if (broken := first_break(node)) is not None:
        raise broken


def tree_of(node: LineageNode) -> Tree:
    """A node and everything that it was made from, for `rich.console.Console.print`."""
    tree = Tree(Text(node.label, style="bold"))
    for name, value in {**node.details, **{f"data {file}": digest for file, digest in node.files.items()}}.items():
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


class _Compared(NamedTuple):
    """One artifact, and how it compares with its record. A missing release has no error."""

    artifact: str
    state: Literal["verified", "changed", "missing"]
    error: EdgemillError | None = None

    @property
    def line(self) -> str:
        words = {"verified": "verified", "changed": "CHANGED", "missing": "missing, not compared"}
        return f"{self.artifact}: {words[self.state]}"


def _compared(artifact: str, error: EdgemillError | None) -> _Compared:
    return _Compared(artifact, "verified" if error is None else "changed", error)


def verify(target: str, root: Path | None, metadata_url: str | None, *, as_json: bool = False) -> None:
    """Print a line for each artifact, and a summary line; or all of it as JSON.

    Raises:
        TamperedError: An artifact has changed since it was written. Raised for the first one, after everything is
            printed.
        RegistryError: A release is damaged.
        MetadataError: There is no such run or release, or the store has no digest of any of its artifacts.
    """
    store = open_existing_store(environment(root, metadata_url).metadata_url)
    artifacts: Iterator[_Compared]
    if is_release_address(target) or Path(target).exists():
        traced = starmap(_compared, compared_artifacts(trace_target(store, target)))
        what, name, artifacts = "release", target, chain(traced, _channels(store, _release_of(target)))
    else:
        known = "`latest`, a release's folder or address, or a .tflite file"
        pipeline, run_id = find_run(store, target, what="run or release", known=known)
        if not as_json:
            typer.echo(f"run {run_id} of {pipeline}")
        what, name, artifacts = "run", run_id, _compared_outputs(store, pipeline, run_id)
    found = []
    for one in artifacts:
        found.append(one)
        if not as_json:
            typer.echo(one.line)
    compared = sum(one.state != "missing" for one in found)
    if not compared:
        raise MetadataError(
            f"this {what} has no artifact yet that can be verified",
            where=name,
            remedy="wait until the first node of the run is complete, or choose another target",
        )
    errors = [one.error for one in found if one.error is not None]
    if as_json:
        content = {
            what: name,
            "unchanged": not errors,
            "artifacts": [{"artifact": one.artifact, "state": one.state} for one in found],
        }
        print_json(content)
    else:
        changed = "1 has changed since it was written"
        if len(errors) > 1:
            changed = f"{len(errors)} have changed since they were written"
        outcome = changed if errors else "all unchanged"
        typer.echo(f"{counted(compared, 'artifact')} compared: {outcome}")
    if errors:
        raise errors[0]


def _release_of(target: str) -> list[str]:
    found = registry_at(target).resolve(target)
    return [] if found.manifest_sha256 is None else [found.address]


def _channels(store: Any, addresses: Iterable[str]) -> Iterator[_Compared]:
    """Yield each channel of some releases once."""
    found = {name: broken for address in addresses for name, broken in channel_breaks(store, address)}
    yield from (_compared(f"channel {name}", broken) for name, broken in found.items())


def _compared_outputs(store: Any, pipeline: str, run_id: str) -> Iterator[_Compared]:
    addresses = []
    for record in run_records(store, pipeline, run_id).values():
        for artifact in record.outputs.values():
            if has_digest(artifact):
                # The last parts are the node, the output, and the execution.
                yield _compared("/".join(artifact.uri.rstrip("/").split("/")[-3:]), breaks(store, artifact))
            for address in releases_of(artifact):
                # A registry keeps releases for as long as its owner chooses, and may be on another machine.
                addresses.append(address)
                try:
                    yield _compared(f"release {address}", release_break(store, artifact, address))
                except MetadataError:
                    yield _Compared(f"release {address}", "missing")
    yield from _channels(store, addresses)


def report_again(run_id: str, root: Path | None, metadata_url: str | None, *, as_json: bool = False) -> None:
    """Rewrite the report of a run and print its path, or the paths of all written files as JSON."""
    from pipelines.report.render import SUMMARY_NAME, write_report
    from pipelines.runs.run import read_plan
    from pipelines.runs.summary import summarize

    place = environment(root, metadata_url)
    store = open_existing_store(place.metadata_url)
    summary = summarize(store, read_plan(place, *find_run(store, run_id)))
    report = write_report(summary, place.runs(summary.pipeline) / summary.run_id)
    if as_json:
        content = {"run_id": summary.run_id, "report": str(report), "details": str(report.with_name(SUMMARY_NAME))}
        print_json(content)
    else:
        typer.echo(str(report))
