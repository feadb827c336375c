"""Where the float baseline comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.core.values import Count, Epochs, FrozenModel, Seed


class TrainedBaseline(FrozenModel):
    """A float model that Edgemill trains with the task's `build_model` and `compile`.

    Attributes:
        split: Split to train on.
        epochs: Passes over the split.
        batch_size: Examples in a training batch.
        seed: Seed of weight initialization, shuffling, and dropout.
    """

    kind: Literal["train"]
    split: str = "train"
    epochs: Epochs
    batch_size: Count = 32
    seed: Seed = 0


class PretrainedBaseline(FrozenModel):
    """A float model that already exists.

    Attributes:
        path: A SavedModel folder whose `serving_default` takes decoded inputs, or a Keras file (`.keras` or `.h5`). A
            model of Keras 3 is rebuilt in tf-keras; see docs/models.md.
        trust_code: Load a Keras model that contains Python code (Lambda layers). Loading it executes the code; see
            SECURITY.md.
    """

    kind: Literal["pretrained"]
    path: str
    trust_code: bool = False


Baseline = Annotated[TrainedBaseline | PretrainedBaseline, Field(discriminator="kind")]
