"""What examples are expected to be, beyond what their schema says."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.values import Value


class DataExpectations(Value):
    """Held against every split before anything is trained.

    Attributes:
        label: Feature that holds the label; every example must have it.
        num_classes: Labels are integers from 0 to one less; None for labels that are no classes.
    """

    label: str
    num_classes: Annotated[int, Field(gt=1)] | None = None
