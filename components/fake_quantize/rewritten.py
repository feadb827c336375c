"""A model whose layers match TFLite's integer kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Rewritten:
    """A rewritten model.

    Attributes:
        model: A functional, uncompiled model with the weights of the original.
        origins: Name of each rewritten layer -> name of the original layer that it comes from.
        notes: Name of an original layer -> how it was rewritten. Unchanged layers have no note.
    """

    model: Any
    origins: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
