"""How candidates are explained."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.core.values import FrozenModel


class ExplainSpec(FrozenModel):
    """How candidates are explained.

    Attributes:
        examples: Examples that the errors of layers are measured on.
        changed: Examples whose answers changed most, which the report shows with their inputs. 0 shows none, for data
            that must not be in a report.
    """

    examples: Annotated[int, Field(ge=1, le=10_000)] = 32
    changed: Annotated[int, Field(ge=0, le=50)] = 6
