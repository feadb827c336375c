"""Metrics, slices, and batch size of the evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.core.values import Count, FrozenModel
from components.spec.metric import Metric, MetricSpec, OutputKind
from components.spec.prediction import MAX_BYTES, Bytes


class EvaluationSpec(FrozenModel):
    """One evaluation of the baseline and all candidates on one split.

    Attributes:
        split: Split to evaluate on.
        metrics: Metrics to compute, by short name, with any class of TensorFlow Model Analysis, or with a function.
            `accuracy`, `top_5_accuracy`, and `cross_entropy` need an output for each class. For one output, use
            `binary_accuracy` and `{name: cross_entropy, class_name: BinaryCrossentropy}`.
        slices: Lists of feature names to cross, from the task's `feature_spec`. The complete split is always evaluated.
        group_by: A dense feature whose values identify groups of related examples: a clip, a person, a site.
            Intervals and tests then resample whole groups. By default, every example is independent of the others.
        batch_size: Examples in a prediction batch.
        max_prediction_bytes: The maximum number of bytes that the stored predictions of one model under one runtime may
            take. If there are more, the run stops, so that large outputs don't fill the disk unnoticed.
        outputs: What the model returns or, if there are several outputs, what each of them returns. By default, it is
            detected. For `logits`, metrics read the softmax or sigmoid.
    """

    split: str = "eval"
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = (
        MetricSpec(name="accuracy", class_name="SparseCategoricalAccuracy"),
    )
    slices: tuple[tuple[str, ...], ...] = ()
    group_by: Annotated[str, Field(min_length=1)] | None = None
    batch_size: Count = 1000
    max_prediction_bytes: Bytes = MAX_BYTES
    outputs: OutputKind | dict[str, OutputKind] | None = None

    def declared(self, output: str | None) -> OutputKind | None:
        """The declared kind of an output; None to detect it. The only output needs no name."""
        if not isinstance(self.outputs, dict):
            return self.outputs
        return (
            next(iter(self.outputs.values()))
            if output is None and len(self.outputs) == 1
            else (self.outputs.get(output or ""))
        )
