"""Small models of all kinds that users bring, for `benchmarks/zoo.py`. Importing them doesn't import TensorFlow."""

from __future__ import annotations

from itertools import chain

from benchmarks.zoo_models import (
    attention,
    brought,
    convolution,
    dense,
    dense_outputs,
    families,
    further,
    rare,
    sequence,
    unusual,
    ways_in,
)
from benchmarks.zoo_models.entry import ZooModel

_KINDS = (
    dense,
    convolution,
    dense_outputs,
    sequence,
    attention,
    further,
    brought,
    unusual,
    rare,
    ways_in,
    families,
)
_MODELS = tuple(chain.from_iterable(each.MODELS for each in _KINDS))
ZOO: dict[str, ZooModel] = {model.name: model for model in _MODELS}
if len(ZOO) != len(_MODELS):
    raise ValueError("two models of the zoo have the same name")
