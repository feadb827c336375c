"""What is measured: metrics, slices, and how large a batch is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.core.values import Count, FrozenModel
from components.spec.metric import Metric, MetricSpec, OutputKind


class EvaluationSpec(FrozenModel):
    """One evaluation over one split.

    Attributes:
        split: The split to evaluate on.
        metrics: What to compute.
        slices: Each a tuple of feature names that are crossed; the whole split is always evaluated.
        batch_size: Examples per prediction batch.
        outputs: What the model returns; None detects it. Of logits the metrics see the softmax or sigmoid.
    """

    split: str = "eval"
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = (
        MetricSpec(name="accuracy", class_name="SparseCategoricalAccuracy"),
    )
    slices: tuple[tuple[str, ...], ...] = ()
    batch_size: Count = 1000
    outputs: OutputKind | None = None
