"""The base class of all values that are serialized, into files, component parameters, and artifacts; shared types."""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

# Seeds that both NumPy and TensorFlow accept.
SEEDS = 1 << 32
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
# A number of examples, epochs without improvement, or hash buckets. TFX and TensorFlow store some of them in 32 bits.
Count = Annotated[int, Field(gt=0, lt=1 << 31)]
# No training needs more epochs than this. A larger number is a typo, and such a run would never end.
Epochs = Annotated[int, Field(gt=0, le=1_000_000)]


class FrozenModel(BaseModel):
    """An immutable, typed value that rejects unknown keys."""

    # NaN and infinity are written as strings because JSON has no numbers for them.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="strings")


def serialized(value: BaseModel) -> bytes:
    """The content of a value's JSON file: UTF-8, indented, with a final newline."""
    return value.model_dump_json(indent=2).encode() + b"\n"


class Watch(Protocol):
    """Receives the progress of long work: the number of finished items, their total, and the current one."""

    def __call__(self, done: int, total: int, what: str) -> None:
        """Record progress."""


def unwatched(done: int, total: int, what: str) -> None:
    """Ignore progress."""
