"""How the float baseline is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.values import Value


class TrainedBaseline(Value):
    """A float model that Edgemill trains with the task's `build_model` and `compile`.

    Attributes:
        split: Split to train on.
        epochs: Passes over it.
        batch_size: Examples per step.
        seed: Of weight initialisation, shuffling and dropout.
    """

    kind: Literal["train"]
    split: str = "train"
    epochs: Annotated[int, Field(gt=0)]
    batch_size: Annotated[int, Field(gt=0)] = 32
    seed: int = 0
