"""A model whose layers are what TFLite's integer kernels are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Rewritten:
    """A rewritten model.

    Attributes:
        model: Functional, uncompiled, with the original's weights.
        origins: Name of each of its layers -> name of the original's layer that it comes from.
        notes: Name of an original layer -> what was done to it, where something was.
    """

    model: Any
    origins: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
