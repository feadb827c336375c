"""The matrix of the zoo, and its coverage figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.zoo_cells.judge import Cell
from benchmarks.zoo_cells.recipes import ACCURACY

_MARKS = {"works": "works", "refused": "refused", "defect": "DEFECT", "none": "-"}


class Coverage(NamedTuple):
    """How many of the cells that count work.

    Attributes:
        works: Cells that work.
        refused: Cells that are refused before the run.
        defects: Cells with a defect.
    """

    works: int
    refused: int
    defects: int

    @property
    def share(self) -> float:
        """The fraction that works; 1 if nothing counts."""
        count = sum(self)
        return self.works / count if count else 1.0

    def __str__(self) -> str:
        return f"{self.works} of {sum(self)} work ({self.share:.0%}), {self.refused} refused, {self.defects} defects"


def merged(earlier: Sequence[Cell], cells: Sequence[Cell]) -> list[Cell]:
    """Earlier cells, replaced with new ones if they were judged again."""
    found = {(cell.model, cell.recipe): cell for cell in (*earlier, *cells)}
    return list(found.values())


def coverage(cells: Sequence[Cell]) -> Coverage:
    """The coverage of some cells. Cells of steps on models without layers don't count."""
    found = [cell.verdict for cell in cells]
    return Coverage(found.count("works"), found.count("refused"), found.count("defect"))


def accepted(cells: Sequence[Cell]) -> Coverage:
    """The coverage of models: a model is accepted if one of its post-training recipes works."""
    best: dict[str, str] = {}
    for cell in cells:
        if best.get(cell.model) != "works" and cell.recipe not in {"prune", "cluster", "qat", ACCURACY}:
            best[cell.model] = cell.verdict
    found = list(best.values())
    return Coverage(found.count("works"), found.count("refused"), found.count("defect"))


def matrix(cells: Sequence[Cell], kinds: Mapping[str, str], recipes: Sequence[str]) -> str:
    """The matrix as a table of Markdown, by kind of model.

    Args:
        cells: The cells.
        kinds: Model -> its kind, in the order of the table.
        recipes: The columns.
    """
    found = {(cell.model, cell.recipe): _MARKS[cell.verdict] for cell in cells}
    rows = [["kind", "model", *recipes], ["---"] * (len(recipes) + 2)]
    rows += [
        [kinds[model], model, *(found.get((model, recipe), "") for recipe in recipes)]
        for model in kinds
        if any((model, recipe) in found for recipe in recipes)
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def figures(cells: Sequence[Cell], recipes: Sequence[str], families: Sequence[str]) -> str:
    """The coverage of the complete zoo, of each recipe, and of the families of `keras.applications`."""
    lines = [f"models accepted: {accepted(cells)}"]
    if learned := [cell for cell in cells if cell.recipe == ACCURACY]:
        lines.append(f"int8 after qat at most half a point below int8, of trained classifiers: {coverage(learned)}")
    for recipe in recipes:
        own = [cell for cell in cells if cell.recipe == recipe]
        of_families = coverage([cell for cell in own if cell.model in families])
        lines.append(
            f"{recipe}: {coverage(own)}; families of keras.applications: {of_families.works} of {sum(of_families)}"
        )
    return "\n".join(lines)


def reasons(cells: Sequence[Cell]) -> str:
    """The accuracies, then every defect, then every refusal, with its reason."""
    lines = [f"- {each.model}: {each.reason}" for each in cells if each.recipe == ACCURACY and each.verdict == "works"]
    for verdict in ("defect", "refused"):
        lines += [
            f"- {verdict}: {each.model}, {each.recipe}: {each.reason}" for each in cells if each.verdict == verdict
        ]
    return "\n".join(lines)
