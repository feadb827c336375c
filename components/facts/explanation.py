"""The reasons why a candidate differs from its float model: errors of its layers, their causes, and their fixes."""

from __future__ import annotations

import math
from typing import Any, Literal

from components.core.values import FrozenModel

Cause = Literal[
    "dominant_channel",
    "outliers",
    "saturated",
    "unequal_concatenation",
    "hard_swish",
    "many_places",
    "bias_overflow",
    "one_scale",
    "few_bits",
    "not_finite",
    "weights",
    "activations",
]


def decibels(error: float) -> float:
    """Signal-to-noise ratio of a relative error, in decibels; infinite without an error."""
    return -10 * math.log10(error) if error > 0 else math.inf


class LayerError(FrozenModel):
    """The errors at the output of one operator, each relative to the energy of the float model's values there.

    Attributes:
        layer: Name of the layer, as `keep_float` accepts it.
        operator: Flatbuffer name of the builtin (`CONV_2D`), or `INPUT` for an input of the model.
        tensor: Name of its output tensor in the candidate's file.
        place: Index of the operator in the candidate's file; -1 for an input.
        total: Error of the candidate's values, including the errors of preceding operators.
        own: Error that this operator adds.
        weights: Error from its weights and biases: computed in float, with the candidate's weights and biases.
        activations: Error from the integers of its output, and from integer arithmetic.
        channels: The median of its channels' own errors, each relative to the variance of the channel.
        beyond: Fraction of values beyond the range of its integers.
    """

    layer: str
    operator: str
    tensor: str
    place: int
    total: float
    own: float
    weights: float
    activations: float
    channels: float
    beyond: float


class Remedy(FrozenModel):
    """How to fix a fault.

    Attributes:
        words: What to do.
        recipe: A recipe for the pipeline file that does it; None if no recipe can.
    """

    words: str
    recipe: dict[str, Any] | None = None


class Fault(FrozenModel):
    """An operator that adds more error than a sound quantization does.

    Attributes:
        layer, operator, tensor: As for its `LayerError`.
        cause: The kind of the cause.
        evidence: A description of the cause, with figures.
        remedy: How to fix it.
    """

    layer: str
    operator: str
    tensor: str
    cause: Cause
    evidence: str
    remedy: Remedy


class Explanation(FrozenModel):
    """The explanation of one candidate.

    Attributes:
        recipe, scheme: Names of the recipe and of its scheme.
        sha256: Digest of the candidate's file; empty without one.
        graph: Name of the file's main graph, as Model Explorer calls it.
        examples: Number of examples.
        source: The examples: `calibration sample`, or the first examples of a split.
        layers: The errors in the order of execution, the inputs of the model first.
        faults: The faults in the order of execution.
        outputs: Error of each output of the model.
        unmatched: Number of the float file's operators that the candidate's file doesn't have.
        unavailable: Why there is no explanation; empty if there is one.
    """

    recipe: str
    scheme: str
    sha256: str = ""
    graph: str = "main"
    examples: int = 0
    source: str = ""
    layers: tuple[LayerError, ...] = ()
    faults: tuple[Fault, ...] = ()
    outputs: dict[str, float] = {}
    unmatched: int = 0
    unavailable: str = ""

    @property
    def noisiest(self) -> tuple[LayerError, ...]:
        """The layers that add the most error, the worst first."""
        return tuple(sorted((one for one in self.layers if one.own > 0), key=lambda one: -one.own))
