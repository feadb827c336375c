"""A small trained baseline in a folder, and what steps are given to train it further."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.small_pipeline import TASK, SmallPipeline

LAYERS = """layers.Input([4, 4, 1], name="image"),
            layers.Conv2D(16, 3, use_bias=False, name="convolution"),
            layers.BatchNormalization(momentum=0.8, name="norm"), layers.ReLU(),
            layers.Flatten(),
            layers.Dense(32, activation="relu", name="hidden"),
            layers.Dense(3, activation="softmax", name="probabilities"),
        ])"""


class TrainedBaseline:
    """A baseline of 16 + 64 + 32 channels, trained for a few epochs.

    Attributes:
        folder: Of the Model artifact, with its Keras model.
        task: Reference of its task.
    """

    def __init__(self, folder: Path, layers: str = LAYERS, epochs: int = 8) -> None:
        import tensorflow as tf

        from components.model.keras_model import save_keras

        small = SmallPipeline(folder, TASK.partition("layers.Input")[0] + layers + TASK.partition("        ])")[2])
        self.task, self._root = small.spec["task"], folder
        sys.path.insert(0, str(folder))
        try:
            task = importlib.import_module(self.task.partition(":")[0]).TASK
        finally:
            sys.path.remove(str(folder))
        self._files = [str(small.write_split("more", 240, seed=1, zipped=True))]
        tf.keras.utils.set_random_seed(1)
        self.model = task.build_model()
        task.compile(self.model)
        self.model.fit(*self.examples(), epochs=epochs, batch_size=32, verbose=0)
        self.folder = folder / "baseline"
        save_keras(self.model, self.folder)

    def examples(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Images float32 [240, 4, 4, 1] and labels int [240]."""
        generator = np.random.default_rng(1)
        labels = np.arange(240) % 3
        images = [generator.normal(0.2 + 0.3 * label, 0.05, 16) for label in labels]
        return np.asarray(images, np.float32).reshape(-1, 4, 4, 1), labels

    def do(
        self, name: str, source: Path | None, train: Callable[..., Any], *step: Any, **more: Any
    ) -> tuple[Path, Any]:
        """Do a step as its node would: the new artifact's folder and the step's report."""
        from components.data.examples import ExampleDecoder
        from components.facts.artifact_paths import TRAINING_FILE
        from components.fine_tune.step import StepInputs

        folder = self._root / name
        inputs = StepInputs(
            source=source or self.folder,
            folder=folder,
            name=name,
            task=self.task,
            label="label",
            decoder=ExampleDecoder(self.task, None),
            files=self._files,
            **more,
        )
        report = train(inputs, *step)
        (folder / TRAINING_FILE).write_text(report.model_dump_json())
        return folder, report
