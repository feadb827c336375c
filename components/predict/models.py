"""The models that predict: the float baseline, and candidates as TFLite files."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from components.data.examples import Serialized
from components.model.reference.float_model import load_float
from components.model.tflite_runtime import TFLiteModel
from components.predict.columns import Steps
from components.predict.digests import BUCKETS, buckets_of
from components.predict.observed import Observed
from components.predict.saturation import Saturation
from components.ranges.unequal import ranges_along_axes

Array = npt.NDArray[Any]
# Number of the `BUCKETS` whose examples are used to look inside a model, which costs another run of it.
INSIDE_BUCKETS = BUCKETS // 5


class Predictor(Protocol):
    """A loaded model.

    Attributes:
        output_names: Names of the outputs; empty if the file has no names for them.
        steps: Output -> its 256 real values, if it is quantized to 8 bits.
    """

    output_names: tuple[str, ...]
    steps: dict[str, Steps]

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs for inputs, in real values; both are name -> array [N, ...]."""
        ...

    def observed(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], examples: Serialized) -> Observed:
        """Observe the outputs of N examples."""
        ...


class FloatPredictor:
    """The float model in the serving folder of a baseline.

    Raises:
        ModelError: It cannot be loaded.
    """

    def __init__(self, serving: Path) -> None:
        self._model = load_float(serving)
        self.output_names = self._model.output_names
        self.steps: dict[str, Steps] = {}

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Predict."""
        return self._model.run(inputs)

    def observed(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], examples: Serialized) -> Observed:
        """Record the ranges of the outputs."""
        del inputs, examples
        return Observed(ranges={output: ranges_along_axes(values) for output, values in outputs.items()})


class TFLitePredictor:
    """A TFLite file.

    Raises:
        ModelError: The runtime rejects it.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self._model = content, TFLiteModel(content)
        self.output_names = self._model.output_names
        self.steps = steps_of(self._model)

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Predict."""
        return self._model.predict(inputs)

    @functools.cached_property
    def _saturation(self) -> Saturation:
        return Saturation(self._content, self._model)

    def observed(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], examples: Serialized) -> Observed:
        """Count saturated outputs of all examples, and saturated inner values of examples in the first buckets."""
        counts = self._saturation.outputs(outputs)
        if self._saturation.looks_inside:
            chosen = buckets_of(examples) < INSIDE_BUCKETS
            if chosen.any():
                counts |= self._saturation.inside({name: values[chosen] for name, values in inputs.items()})
        return Observed(counts=counts)


def steps_of(model: TFLiteModel) -> dict[str, Steps]:
    """The 256 real values of each output of a file that is quantized to 8 bits, by the output's name."""
    quantized = {name: (*model.quantization("output", name), model.output_type(name)) for name in model.output_names}
    return {name: Steps(*each) for name, each in quantized.items() if each[0] and each[2].itemsize == 1}
