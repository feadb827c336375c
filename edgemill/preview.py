"""What recipes will do to each layer, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from components.report import LayerPlan
from edgemill.terminal import terminal


def print_previews(previews: Mapping[str, Sequence[LayerPlan]]) -> None:
    """Print a table per recipe; nothing where none trains and no layer is recurrent."""
    console = terminal()
    for recipe, layers in previews.items():
        trains = any(layer.mode in {"trained", "watched", "refused"} for layer in layers)
        told = "what training does to each layer" if trains else "what becomes of recurrent layers"
        table = Table(title=f"recipe {recipe}: {told}", title_justify="left")
        for heading in ("layer", "kind", "mode", "weights", "outputs", "note"):
            table.add_column(heading, overflow="fold")
        for layer in layers:
            cells = (layer.layer, layer.kind, layer.mode, layer.weights, layer.outputs, layer.note)
            table.add_row(*map(Text, cells))
        console.print(table)
