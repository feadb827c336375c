"""The console of commands, and tables of how recipes treat each layer."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence, Set

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.facts.training import LayerPlan

# Wider than any line of a command, so that nothing is cut or wrapped in a file or a pipe.
_UNBOUNDED = 2000


def terminal() -> Console:
    """Standard output: as wide as the terminal, or practically unbounded in a file or a pipe."""
    return Console(markup=False, width=None if sys.stdout.isatty() else _UNBOUNDED)


def print_previews(previews: Mapping[str, Sequence[LayerPlan]]) -> None:
    """Print a table for each recipe and step, and nothing if no recipe trains and no layer is recurrent."""
    console = terminal()
    for recipe, layers in previews.items():
        table = Table(title=Text(f"recipe {recipe}: {_subject(layers)}"), title_justify="left")
        for heading in ("layer", "kind", "mode", "weights", "outputs", "note"):
            table.add_column(heading, overflow="fold")
        for layer in layers:
            cells = (layer.layer, layer.kind, layer.mode, layer.weights, layer.outputs, layer.note)
            table.add_row(*map(Text, cells))
        console.print(table)


def summaries(previews: Mapping[str, Sequence[LayerPlan]]) -> tuple[str, ...]:
    """A line for each recipe and step: the number of layers of each mode. `print_previews` prints the details."""
    lines = []
    for recipe, layers in previews.items():
        modes = ", ".join(f"{count} {mode}" for mode, count in Counter(layer.mode for layer in layers).items())
        # Repeat a note only if all layers have it.
        notes = {layer.note for layer in layers}
        shared = f" ({notes.pop()})" if len(notes) == 1 and "" not in notes else ""
        lines.append(f"recipe {recipe}: {_subject(layers)}: {modes}{shared}")
    return tuple(lines)


def _subject(layers: Sequence[LayerPlan]) -> str:
    modes = {layer.mode for layer in layers}
    return next((subject for some, subject in _SUBJECTS if modes & some), "what happens to each layer")


# The first match counts. Tables of training also contain recurrent modes, so training comes first.
_SUBJECTS: tuple[tuple[Set[str], str], ...] = (
    ({"pruned"}, "what pruning does to each layer"),
    ({"clustered"}, "what clustering does to each layer"),
    ({"trained", "observed", "refused"}, "what training does to each layer"),
    ({"fused", "lowered", "unrolled", "loop"}, "what happens to recurrent layers"),
    ({"float"}, "what stays in float"),
)
