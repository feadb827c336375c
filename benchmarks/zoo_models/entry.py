"""One model of the zoo, and how it is saved as a baseline."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# How a model reaches Edgemill.
Form = Literal["keras", "h5", "saved_model", "keras3", "exported3", "subclassed", "graph", "tflite"]


@dataclass(frozen=True)
class ZooModel:
    """A model that users bring.

    Attributes:
        name: Unique name.
        kind: The purpose of the model, for the table.
        build: Builds the model from the Keras module (tf-keras or Keras 3). For `graph`, it returns a `tf.Module` and
            its signatures.
        form: How the model is saved.
        high: Upper end of its inputs; integers are below it. If it is not set, floats are normally distributed.
        baseline: More fields of the section `baseline`.
        examples: Number of examples to calibrate on, to train on, and to compare.
    """

    name: str
    kind: str
    build: Callable[[Any], Any]
    form: Form = "keras"
    high: float | None = None
    baseline: Mapping[str, Any] = field(default_factory=dict)
    examples: int = 16

    @property
    def trains(self) -> bool:
        """Whether the saved file has layers that steps can train."""
        return self.form in {"keras", "h5", "saved_model", "keras3"}

    def save(self, folder: Path) -> dict[str, Any]:
        """Save the model with random weights. Returns the section `baseline` of a pipeline file."""
        path = folder / {
            "keras": "model.keras",
            "h5": "model.h5",
            "keras3": "model.keras",
            "tflite": "model.tflite",
        }.get(self.form, "model")
        if self.form in {"keras3", "exported3"}:
            # The two Keras generations must not be loaded in the same process.
            command = [sys.executable, "-m", "benchmarks.zoo_models.keras3", self.name, str(path)]
            subprocess.run(command, check=True, timeout=300)
        else:
            self._save_here(path)
        return {"kind": "pretrained", "path": str(path), **self.baseline}

    def _save_here(self, path: Path) -> None:
        import tensorflow as tf

        tf.keras.utils.set_random_seed(7)
        made = self.build(tf.keras)
        if self.form == "graph":
            module, signatures = made
            tf.saved_model.save(module, str(path), signatures=signatures)
        elif self.form == "tflite":
            path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(made).convert())
        else:
            unsettle(made)
            made.save(path)


def unsettle(model: Any) -> None:
    """Replace weights that are all 0 or all 1 with random ones near these values, as in a trained model."""
    import numpy as np

    random = np.random.default_rng(11)
    for weight in model.weights:
        values = np.asarray(weight)
        if values.dtype.kind == "f" and values.size and np.ptp(values) == 0 and values.flat[0] in (0.0, 1.0):
            weight.assign(values + random.uniform(-0.2, 0.2, values.shape).astype(values.dtype))
