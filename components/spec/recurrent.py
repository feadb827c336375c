"""How recurrent layers are lowered."""

from __future__ import annotations

from typing import Literal

# `streaming`: a model of one time step with its state as inputs and outputs; `sequence`: one graph over all time steps.
Form = Literal["streaming", "sequence"]
