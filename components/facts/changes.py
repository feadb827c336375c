"""Differences between a candidate's answers and the float baseline's: counts, and the examples that changed most."""

from __future__ import annotations

from typing import Literal

from components.core.values import FrozenModel


class ShownInput(FrozenModel):
    """One input of an example, in a form that a report can show.

    Attributes:
        name: Its name; empty for the only one.
        kind: `image`; `curves` of a series; or `text`, also for values, and for inputs that can't be drawn.
        png: The image, in Base64; empty for other kinds.
        curves: A curve for each channel, thinned out to at most 128 points; empty for other kinds.
        text: The text; empty for other kinds.
    """

    name: str
    kind: Literal["image", "curves", "text"]
    png: str = ""
    curves: tuple[tuple[float, ...], ...] = ()
    text: str = ""


class ChangedExample(FrozenModel):
    """One example.

    Attributes:
        example: Its digest, as in the stored predictions.
        flip: `lost` if only the baseline is right, `gained` if only the candidate is; empty if neither, or if answers
            are not right or wrong.
        distance: Difference of the outputs, relative to the root mean square of the baseline's.
        target: The correct answer.
        before, after: Answers of the baseline and the candidate.
        inputs: The inputs of the model.
    """

    example: str
    flip: Literal["", "lost", "gained"]
    distance: float
    target: str
    before: str
    after: str
    inputs: tuple[ShownInput, ...]


class Changes(FrozenModel):
    """The changes in the answers of one candidate.

    Attributes:
        recipe: Name of its recipe.
        examples: Number of examples.
        answered: Number of examples whose class differs from the baseline's; None if outputs are not classes.
        lost, gained: Number of examples that only the baseline, or only the candidate, gets right; None if answers are
            not right or wrong.
        worst: The examples that changed most: lost examples first, then by distance.
        unavailable: Why there are no changes to show; empty if there are.
    """

    recipe: str
    examples: int = 0
    answered: int | None = None
    lost: int | None = None
    gained: int | None = None
    worst: tuple[ChangedExample, ...] = ()
    unavailable: str = ""
