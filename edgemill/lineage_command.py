"""`edgemill lineage`: where bytes came from, as a tree or as JSON."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.text import Text
from rich.tree import Tree

from edgemill.terminal import terminal
from pipelines.environment import environment
from pipelines.lineage import first_break, trace_target
from pipelines.metadata import open_existing_store
from pipelines.report.summary import LineageNode


def print_lineage(target: Path, root: Path | None, metadata_url: str | None, *, as_json: bool) -> None:
    """Print the lineage of a release or a model file, each artifact compared with what was written.

    Raises:
        TamperedError: One differs; it is printed too.
    """
    node = trace_target(open_existing_store(environment(root, metadata_url).metadata_url), target)
    if as_json:
        typer.echo(node.model_dump_json(indent=2))
    else:
        terminal().print(tree_of(node))
    if (broken := first_break(node)) is not None:
        raise broken


def tree_of(node: LineageNode) -> Tree:
    """A node and all that it was made from, for `rich.console.Console.print`."""
    tree = Tree(Text(node.label, style="bold"))
    for name, value in node.details.items():
        tree.add(Text.assemble((f"{name}:", "dim"), f" {value}"))
    for child in node.children:
        tree.add(tree_of(child))
    return tree
