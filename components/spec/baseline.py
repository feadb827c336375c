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
        path: A SavedModel folder with a signature that takes decoded inputs, a Keras file (`.keras` or `.h5`), or a
            float TFLite file. A model of Keras 3 is rebuilt in tf-keras; see docs/models.md.
        signature: The signature of a SavedModel to use as the model. By default, it is `serving_default`. Another one
            is a function without layers, so no step can train it.
        input_shapes: Input name -> shape of one example, without the batch, such as `{image: [96, 96, 3]}`. It fixes
            the open dimensions of inputs. Fixed dimensions must stay as they are, and a missing input keeps its shape.
        trust_code: Load a Keras model that contains Python code (Lambda layers). Loading it executes the code; see
            SECURITY.md.
    """

    kind: Literal["pretrained"]
    path: str
    signature: str | None = None
    input_shapes: dict[str, tuple[Count, ...]] = {}
    trust_code: bool = False


Baseline = Annotated[TrainedBaseline | PretrainedBaseline, Field(discriminator="kind")]
