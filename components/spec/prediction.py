"""What stored predictions depend on besides the model and the task."""

from __future__ import annotations

from components.core.values import Count, FrozenModel


class PredictionSpec(FrozenModel):
    """Predictions of one model on one split.

    Attributes:
        split: The split to predict on.
        batch_size: Examples in a prediction batch.
    """

    split: str
    batch_size: Count
