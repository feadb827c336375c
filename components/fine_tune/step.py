"""The inputs of every training step: a Model artifact, the task, and the examples. Imports TensorFlow."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.core.files import sha256_of_bytes
from components.data.dense import check_dense, named_label
from components.data.examples import ExampleDecoder
from components.data.task import CompilingTask, compiling, load_task
from components.data.training_data import TrainingData, load_training_data
from components.facts.training import TrainingReport, training_of
from components.fine_tune.loop import TrainingState, fine_tune
from components.model.keras_model import check_keras_takes, load_kept, output_names


@dataclass(frozen=True)
class StepInputs:
    """The inputs and output folders of a step.

    Attributes:
        source: Folder of the Model artifact to start from, with its Keras model.
        folder: Output folder; the SavedModel goes into `Format-Serving`.
        name: The node's ID, for messages.
        task: Reference of the task.
        label: Name of the feature that is the target if the task declares no targets.
        decoder: Decodes serialized examples to inputs and features.
        files: Gzipped TFRecord files to train on.
        checkpoints, logs: See `fine_tune`.
    """

    source: Path
    folder: Path
    name: str
    task: str
    label: str
    decoder: ExampleDecoder
    files: Sequence[str]
    checkpoints: Path | None = None
    logs: Path | None = None

    def load(self) -> tuple[Any, CompilingTask]:
        """Load the model to start from, and the task that compiles it.

        Raises:
            SpecError, ModelError: The task or the model does not exist.
        """
        check_dense(named_label(self.label), self.decoder.feature_spec)
        maker = compiling(load_task(self.task))
        return load_kept(self.source), maker

    def load_data(self, model: Any) -> TrainingData:
        """Load the examples, and check that the model accepts them.

        Raises:
            DataError, ModelError: There are no examples, or the model does not accept them.
        """
        data = load_training_data(self.decoder, self.files, self.label, self.name, output_names(model))
        check_keras_takes(model, data.few)
        return data

    def earlier(self) -> TrainingReport | None:
        """The report of the previous step; None for a baseline."""
        return training_of(self.source)

    def train(self, model: Any, maker: CompilingTask, data: TrainingData, step: Any, **hooks: Any) -> TrainingState:
        """Call `fine_tune` with the name, checkpoints, and logs of the step."""
        hooks |= {"name": self.name, "checkpoints": self.checkpoints, "logs": self.logs}
        return fine_tune(model, maker, data, step, **hooks)

    def report(self, step: Any, state: TrainingState, **facts: Any) -> TrainingReport:
        """The report of the step. Unless `facts` has a sparsity target, the previous step's applies."""
        earlier = self.earlier()
        facts = {"sparsity_target": earlier.sparsity_target if earlier is not None else None, **facts}
        epochs = {"epochs": state.epochs, "best_epoch": state.best_epoch}
        return TrainingReport(recipe=self.name, kind=step.kind, **epochs, **facts)


def checkpoint_folder(artifact: Path, key: Sequence[str]) -> Path:
    """The checkpoint folder of an execution, which the next execution with the same key finds again.

    TFX deletes the outputs of a failed execution, and the next execution gets another folder.

    Args:
        artifact: Folder of the output artifact, `<root>/<node>/<output>/<execution>`.
        key: Everything that the result depends on.
    """
    return artifact.parents[1] / "checkpoints" / sha256_of_bytes("\0".join(key).encode())[:16]


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of `fine_tune`."""
    shutil.rmtree(folder, ignore_errors=True)
