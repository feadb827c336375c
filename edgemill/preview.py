"""What recipes that train will do to each layer, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from components.report import LayerPlan
from edgemill.terminal import terminal


def print_previews(previews: Mapping[str, Sequence[LayerPlan]]) -> None:
    """Print a table per recipe; nothing where none trains."""
    console = terminal()
    for recipe, layers in previews.items():
        table = Table(title=f"recipe {recipe}: what training does to each layer", title_justify="left")
        for heading in ("layer", "kind", "mode", "weights", "outputs", "note"):
            table.add_column(heading, overflow="fold")
        for layer in layers:
            told = (layer.layer, layer.kind, layer.mode, layer.weights, layer.outputs, layer.note)
            table.add_row(*map(Text, told))
        console.print(table)
