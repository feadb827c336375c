"""What the metrics take a model's output for."""

from __future__ import annotations

from typing import Literal

from components.core.values import FrozenModel


class OutputReading(FrozenModel):
    """What the metrics took the model's output for: the baseline's and each candidate's alike.

    Attributes:
        kind: What the model returns.
        applied: What made probabilities of it before the metrics; empty if nothing did.
        why: What shows it.
        averages: For each metric that is the mean of one for each class or output, a sentence on which.
    """

    kind: Literal["probabilities", "logits", "values"]
    applied: Literal["", "softmax", "sigmoid"] = ""
    why: str = ""
    averages: tuple[str, ...] = ()
