"""The base of every value that crosses a border: a file, a component parameter, an artifact."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# What the seeds of NumPy and TensorFlow take.
SEEDS = 1 << 32
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
# A number of examples, epochs without improvement or hash buckets: TFX and TensorFlow hold some of them in 32 bits.
Count = Annotated[int, Field(gt=0, lt=1 << 31)]
# More epochs than any training takes: a number beyond is a slip of the keyboard that would never end.
Epochs = Annotated[int, Field(gt=0, le=1_000_000)]


class FrozenModel(BaseModel):
    """A frozen, typed value that refuses keys it does not know."""

    # NaN and infinity are written as strings: JSON has no other way to bring them back.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="strings")
