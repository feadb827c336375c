"""How the metrics interpret a model's output."""

from __future__ import annotations

from typing import Literal

from components.core.values import FrozenModel


class OutputReading(FrozenModel):
    """How the metrics interpret the output of the baseline and of each candidate.

    Attributes:
        kind: What the model returns.
        applied: Function that turns outputs into probabilities before the metrics; empty if there is none.
        why: How the kind was determined.
        averages: One sentence for each metric that is the mean of several, one for each class or output.
    """

    kind: Literal["probabilities", "logits", "values"]
    applied: Literal["", "softmax", "sigmoid"] = ""
    why: str = ""
    averages: tuple[str, ...] = ()
