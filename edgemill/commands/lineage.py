"""`edgemill lineage`: prints where a model came from, as a tree or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer
from rich.text import Text
from rich.tree import Tree

from edgemill.terminal import terminal
from pipelines.file.environment import environment
from pipelines.report.summary import LineageNode
from pipelines.runs.lineage import first_break, trace_target
from pipelines.runs.metadata_connection import open_existing_store


def print_lineage(target: Path, root: Path | None, metadata_url: str | None, *, as_json: bool, short: bool) -> None:
    """Print the lineage of a release or a model file, and compare each artifact with what was written.

    Args:
        target: The release, or the model file.
        root, metadata_url: Where the store is.
        as_json: Print JSON, always complete, instead of a tree.
        short: Print one line for each artifact.

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
    """Like `tree_of`, with one line per artifact: its maker, its digest, and whether it is what was written."""
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
        yield "verified" if node.details["verified"] == "yes" else "NOT what was written"
