"""Runs the float model in the artifact of a baseline, regardless of the kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from components.facts.artifact_paths import SIGNATURE, TFLITE_FILE
from components.upstream.tflite.schema import load_schema

Array = npt.NDArray[Any]

# TFLite's operators -> the operations of TensorFlow that they compute.
_PROBABILITIES = {"SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}
# These don't change the values that an activation returns.
_MOVING = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE"})


class FloatModel(Protocol):
    """A loaded float model.

    Attributes:
        output_names: Names of the outputs.
    """

    output_names: tuple[str, ...]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run N examples. Takes and returns arrays [N, ...] by name.

        Raises:
            DataError: The names or shapes differ from the model's inputs.
        """

    def final_operator(self, output: str) -> str:
        """TensorFlow's name of the operator that computes an output, such as `Softmax`; "" if it is not found."""


def tflite_path(serving: Path) -> Path | None:
    """The path of the float TFLite file in the serving folder of a baseline; None if there is a SavedModel instead."""
    path = serving / Path(TFLITE_FILE).name
    return path if path.is_file() else None


def load_float(serving: Path) -> FloatModel:
    """Load the model in the serving folder of a baseline.

    Raises:
        ModelError: The SavedModel cannot be loaded, or the runtime rejects the TFLite file.
    """
    path = tflite_path(serving)
    return _SavedModel(serving) if path is None else _TFLite(path.read_bytes())


class _SavedModel:
    def __init__(self, serving: Path) -> None:
        from components.model.saved_model import load_serving

        # Signatures have only weak references to their variables, so keep the loaded model alive.
        self._held, signature = load_serving(serving)
        self.output_names = tuple(signature.structured_outputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        from components.model.saved_model import run_serving

        return run_serving(self._held.signatures[SIGNATURE], inputs)

    def final_operator(self, output: str) -> str:
        from components.model.saved_model import final_operator

        return final_operator(self._held.signatures[SIGNATURE], output)


class _TFLite:
    def __init__(self, content: bytes) -> None:
        from components.model.tflite_runtime import TFLiteModel

        self._content, self._model = content, TFLiteModel(content)
        self.output_names = self._model.output_names

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._model.predict(inputs)

    def final_operator(self, output: str) -> str:
        schema = load_schema()
        model = schema.Model.GetRootAs(self._content, 0)
        graph = model.Subgraphs(0)
        names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
        makers = {
            operator.Outputs(place): operator
            for operator in map(graph.Operators, range(graph.OperatorsLength()))
            for place in range(operator.OutputsLength())
        }
        maker = makers.get(self._model.output_index(output))
        while maker is not None:
            code = model.OperatorCodes(maker.OpcodeIndex())
            kind = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            if kind not in _MOVING:
                return _PROBABILITIES.get(kind, kind)
            maker = makers.get(maker.Inputs(0))
        return ""
