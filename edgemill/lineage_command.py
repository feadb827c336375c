"""`edgemill lineage`: where bytes came from, as a tree or as JSON."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.tree import Tree

from pipelines.environment import environment
from pipelines.lineage import digest_of_target, trace_digest
from pipelines.metadata import open_store
from pipelines.report.summary import LineageNode


def print_lineage(target: Path, root: Path | None, metadata_url: str | None, *, as_json: bool) -> None:
    """Print the lineage of a release or a model file."""
    digest = digest_of_target(target)
    node = trace_digest(open_store(environment(root, metadata_url).metadata_url), digest)
    if as_json:
        typer.echo(node.model_dump_json(indent=2))
    else:
        Console(soft_wrap=True).print(_branch(node, Tree("")).children[0])


def _branch(node: LineageNode, parent: Tree) -> Tree:
    branch = parent.add(f"[bold]{node.label}[/bold]")
    for name, value in node.details.items():
        branch.add(f"[dim]{name}:[/dim] {value}", highlight=False)
    for child in node.children:
        _branch(child, branch)
    return parent
