"""Fine-tuning: the options that all training steps share. Doesn't import TensorFlow."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, FiniteFloat, model_validator

from components.core.values import Count, Epochs, FrozenModel, Seed

Rate = Annotated[FiniteFloat, Field(gt=0)]


class LearningRatePhase(FrozenModel):
    """One phase of a learning-rate schedule.

    Attributes:
        kind: How the rate changes from `start` to `end` in the phase. `constant` stays at `start`. The others are
            `linear`, `cosine` (half a wave, Loshchilov and Hutter 2017, arXiv:1608.03983), and `exponential` (by the
            same factor in each batch).
        epochs: Length of the phase, in epochs.
        start: Rate at the first batch.
        end: Rate after the last batch. Required unless `kind` is `constant`.
    """

    kind: Literal["constant", "linear", "cosine", "exponential"]
    epochs: Annotated[FiniteFloat, Field(gt=0)]
    start: Rate
    end: Rate | None = None

    @model_validator(mode="after")
    def _ends_somewhere(self) -> LearningRatePhase:
        if self.kind == "constant" and self.end is not None:
            raise ValueError("a constant phase has no `end`: remove it, or use linear, cosine, or exponential")
        if self.kind != "constant" and self.end is None:
            raise ValueError(f"a {self.kind} phase needs an `end`")
        return self


class EarlyStopping(FrozenModel):
    """Stops when the loss on held-out examples stops decreasing, and restores the weights of the best epoch.

    Attributes:
        patience: Epochs without improvement before training stops.
        min_delta: Smallest decrease of the loss that counts as an improvement.
        hold_out: Share of the training split that is held out to measure the loss, as one example in every n.
    """

    patience: Count = 2
    min_delta: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    hold_out: Annotated[FiniteFloat, Field(gt=0, le=0.5)] = 0.1


class WeightInvariants(FrozenModel):
    """Properties of the weights that earlier steps of a recipe establish and later steps must keep.

    Attributes:
        zeros: Whether weights that are zero stay zero.
        num_clusters: In weight tensors with at most this many distinct values, weights that share a value keep sharing
            it. None for a model without shared values.
    """

    zeros: bool = False
    num_clusters: int | None = None

    def merged(self, later: WeightInvariants) -> WeightInvariants:
        """These invariants and those that a later step adds. The first step with shared values sets their number."""
        counts = [one for one in (self.num_clusters, later.num_clusters) if one is not None]
        return WeightInvariants(zeros=self.zeros or later.zeros, num_clusters=counts[0] if counts else None)


class FineTuning(FrozenModel):
    """Training that starts from a model's weights.

    Attributes:
        split: Split to train on. By default, the split of the trained baseline or of the calibration sample.
        epochs: Passes over the split.
        batch_size: Examples in a training batch.
        learning_rate: One rate, or a list of phases in sequence; the last rate applies until training ends. It replaces
            the rate of the optimizer that the task's `compile` sets.
        seed: Seed of shuffling and dropout.
        early_stopping: By default, training runs all epochs and keeps the last weights.
        shell: The TFX component of this kind of step, `package.module:NAME`.
        preview: Reference of a function of (model, step, scheme) that returns what the step does to each layer, or
            raises an error if the step does not fit the model.
        depends_on: Other parts of the recipe that the training depends on: `invariants` of earlier steps, the `scheme`.
    """

    shell: ClassVar[str]
    preview: ClassVar[str]
    depends_on: ClassVar[frozenset[Literal["invariants", "scheme"]]]

    split: str | None = None
    epochs: Epochs
    batch_size: Count = 32
    learning_rate: Rate | Annotated[tuple[LearningRatePhase, ...], Field(min_length=1)] = 1e-4
    seed: Seed = 0
    early_stopping: EarlyStopping | None = None

    def establishes(self) -> WeightInvariants:
        """Properties of the weights that the step establishes and later steps must keep. By default, none."""
        return WeightInvariants()

    def references(self) -> tuple[str, ...]:
        """The task's objects that the step names, each as `package.module:NAME`."""
        return ()

    @model_validator(mode="after")
    def _schedules_no_more_than_it_trains(self) -> FineTuning:
        if isinstance(self.learning_rate, tuple):
            length = sum(phase.epochs for phase in self.learning_rate)
            if length > self.epochs + 1e-9:
                raise ValueError(f"the phases of learning_rate take {length:g} epochs, but epochs is {self.epochs}")
        return self


def learning_rate_at(schedule: float | tuple[LearningRatePhase, ...], epoch: float) -> float:
    """The learning rate at a point in time.

    Args:
        schedule: See `FineTuning.learning_rate`.
        epoch: Epochs since the start; can be fractional.
    """
    if not isinstance(schedule, tuple):
        return schedule
    phase, began = schedule[0], 0.0
    for following in schedule[1:]:
        if epoch < began + phase.epochs:
            break
        phase, began = following, began + phase.epochs
    share = min(1.0, (epoch - began) / phase.epochs)
    end = phase.start if phase.end is None else phase.end
    match phase.kind:
        case "constant":
            return phase.start
        case "linear":
            return phase.start + (end - phase.start) * share
        case "cosine":
            return end + (phase.start - end) * (1 + math.cos(math.pi * share)) / 2
        case "exponential":
            return phase.start * (end / phase.start) ** share
