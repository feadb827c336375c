"""The values that stored predictions depend on, besides the model and the task."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.core.values import Count, FrozenModel

Bytes = Annotated[int, Field(gt=0, lt=1 << 63)]
MAX_BYTES = 16 << 30


class PredictionSpec(FrozenModel):
    """Predictions of one model on one split.

    Attributes:
        split: The split to predict on.
        batch_size: Examples in a prediction batch.
        max_bytes: The maximum number of bytes that may be stored.
    """

    split: str
    batch_size: Count
    max_bytes: Bytes = MAX_BYTES
