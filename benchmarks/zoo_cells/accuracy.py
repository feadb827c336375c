"""The accuracy of lightly trained classifiers of the zoo in int8, with and without training under quantization."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks.zoo_cells.judge import Arrays, Cell, judge_accuracy
from benchmarks.zoo_cells.recipes import ACCURACY
from benchmarks.zoo_cells.run import ZooRun
from benchmarks.zoo_cells.task import LOGITS
from components.baseline.pretrained import import_model
from components.model.reference.float_model import load_float
from components.model.tflite_runtime import TFLiteModel
from components.spec.baseline import PretrainedBaseline
from components.spec.recipe import Recipe

_TRAIN, _TEST, _CALIBRATION, _EPOCHS = 2_000, 4_000, 200, 8
_QAT = {"kind": "qat", "epochs": 2, "batch_size": 32, "learning_rate": 1e-4}
_RECIPES: dict[str, dict[str, Any]] = {
    "int8": {"scheme": "static_wi8_ai8"},
    "qat": {"scheme": "static_wi8_ai8", "steps": [_QAT]},
}
# Number of patterns, and how far an example's factors are from its class's factors. Classes overlap.
_PATTERNS, _NOISE = 8, 0.4


class AccuracyRun(ZooRun):
    """One classifier in a folder. It learns classes of smooth patterns that overlap."""

    def run(self) -> None:
        """Report one cell."""
        self._enter(ACCURACY, "training the float model", "")
        tf.keras.utils.set_random_seed(7)
        model = self._entry.build(tf.keras)
        (self._input,) = (tensor.name.partition(":")[0] for tensor in model.inputs)
        classes = model.output_shape[-1]
        train = _examples(model.input_shape[1:], classes, _TRAIN, 1)
        test = _examples(model.input_shape[1:], classes, _TEST, 2)
        probabilities = getattr(getattr(model.layers[-1], "activation", None), "__name__", "") == "softmax"
        model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities))
        model.fit(*train, batch_size=32, epochs=_EPOCHS, verbose=0)
        path = self._folder / "model.keras"
        model.save(path)
        section = {"kind": "pretrained", "path": str(path), **self._entry.baseline}
        import_model(PretrainedBaseline.model_validate(section), self._artifact)
        self._inputs = {self._input: train[0]}
        baseline = load_float(self._serving)
        (output,) = baseline.run({self._input: test[0][:1]})
        loss = "sparse_categorical_crossentropy" if probabilities else LOGITS
        self._write_task(self._inputs, {output: train[1]}, _CALIBRATION, loss)

        def accuracy(run: Callable[[Arrays], Mapping[str, npt.NDArray[Any]]]) -> float:
            return float(np.mean(run({self._input: test[0]})[output].argmax(-1) == test[1]))

        recipes = [Recipe.model_validate({"name": name, **fields}) for name, fields in _RECIPES.items()]
        refused = self._check(section, recipes)
        if refused:
            reasons = "; ".join(f"{name}: {reason}" for name, found in refused.items() for reason in found)
            self._report(Cell(self._entry.name, ACCURACY, "refused", reasons))
            return
        self._enter(ACCURACY, "training under quantization and converting", "")
        accuracies = {"float": accuracy(baseline.run)}
        for recipe in recipes:
            artifact, report = self._trained(recipe) if recipe.steps else (self._artifact, None)
            accuracies[recipe.name] = accuracy(TFLiteModel(self._converted(recipe, artifact, report)).predict)
        self._report(Cell(self._entry.name, ACCURACY, *judge_accuracy(accuracies)))


def _examples(shape: Sequence[int], classes: int, count: int, seed: int) -> tuple[Any, Any]:
    """Sums of a few smooth patterns [N, ...] with factors close to a class's factors, and the classes [N]."""
    fixed, random = np.random.default_rng(0), np.random.default_rng(seed)
    axes = [np.linspace(0, 1, size) for size in shape[:-1]]
    patterns = []
    for index in range(_PATTERNS):
        # The first patterns are the same everywhere, so that pooling keeps them.
        turns = fixed.integers(0, 3, len(axes)) * (index > 1)
        phase = (
            np.sum(np.meshgrid(*(a * n for a, n in zip(axes, turns, strict=True)), indexing="ij"), 0) if axes else 0.0
        )
        patterns.append(np.cos(2 * np.pi * np.asarray(phase))[..., None] * fixed.normal(size=shape[-1]))
    labels = random.integers(0, classes, count)
    factors = fixed.normal(size=(classes, _PATTERNS))[labels] + _NOISE * random.normal(size=(count, _PATTERNS))
    values = np.tensordot(factors, patterns, 1) + 0.1 * random.normal(size=(count, *shape))
    return values.astype(np.float32), labels
