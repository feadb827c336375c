"""Columns of a table that can't be an input, which only matters if the model reads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from components.core.errors import DataError, counted, some_of
from components.core.values import FrozenModel
from edgemill.project.lists import listed
from edgemill.project.unclear import UnclearError


class Unusable(FrozenModel):
    """Why a column can't be an input.

    Attributes:
        reason: The kind of its content. Text represents all types other than numbers.
        measured: A description of the finding.
        missing: Number of missing values.
        grouped: Whether the text is a number with thousands separators.
    """

    reason: Literal["text", "missing values"]
    measured: str
    missing: int = 0
    grouped: bool = False


def refuse(
    columns: Mapping[str, Unusable], usable: Collection[str], where: str, count: int, *, label: bool = False
) -> None:
    """Raise the error for columns that the input needs.

    Args:
        columns: These columns; without any, nothing is raised.
        usable: The columns to suggest instead.
        where: The files.
        count: Number of rows.
        label: Whether these columns are labels.

    Raises:
        DataError: Some of these columns have empty cells.
        UnclearError: They contain something other than numbers.
    """
    if empty := {name: each for name, each in columns.items() if each.missing}:
        what, other = ("labels", "another label with --label") if label else ("columns", "other columns with --columns")
        raise DataError(
            f"{what} have missing values: {', '.join(f'{name} ({each.missing})' for name, each in empty.items())}",
            where=where,
            bound=f"a finite value in each of {counted(count, 'row')}",
            measured=_first(empty),
            remedy=f"fill in the values or remove the rows, or choose {other}",
        )
    if columns:
        raise UnclearError(
            f"columns contain something other than numbers: {some_of(columns)}",
            option="columns",
            question="Which columns are the input, in the model's order?",
            default=listed(usable),
            bound="columns of numbers, or of true and false, in the order of the model's input",
            measured=_first(columns),
            remedy="choose the columns of the input with --columns, and "
            + (
                "write numbers without thousands separators, such as 1234.5"
                if any(each.grouped for each in columns.values())
                else "write text as numbers as in training, such as 1 for yes and 0 for no"
            ),
        )


def _first(columns: Mapping[str, Unusable]) -> str:
    """The findings in up to three columns."""
    return ", ".join(f"{name}: {each.measured}" for name, each in list(columns.items())[:3])
