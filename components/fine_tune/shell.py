"""The code that the TFX components of training steps share: from artifacts to plain values, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.data.examples import ExampleDecoder, split_files
from components.facts.artifact_paths import LOGS_FOLDER, SERVING_FOLDER, TRAINING_FILE
from components.facts.manifest import describe, write_manifest
from components.facts.training import TrainingReport
from components.facts.verified import verified

if TYPE_CHECKING:
    from components.fine_tune.step import StepInputs


def run_step(
    train: Callable[[StepInputs], TrainingReport],
    *,
    examples: Any,
    model: Any,
    trained: Any,
    transform_graph: Any,
    spec: str,
    node: str,
    split: str,
    task: str,
    label: str,
    task_version: str,
    code_version: str,
) -> None:
    """Run a step and write its artifact: the SavedModel, `training.json`, TensorBoard logs, and the manifest.

    Args:
        train: The step, a function of its inputs.
        examples, model, trained, transform_graph: The node's artifacts. `transform_graph` may be None.
        spec: The node's parameter; part of the key of the checkpoints.
        node: The node's ID, for messages.
        split: Split to train on.
        task, label, task_version, code_version: The node's parameters.
    """
    from components.fine_tune.checkpoints import checkpoint_folder, remove_checkpoints
    from components.fine_tune.step import StepInputs

    source = verified(model)
    parents = {"model": source.manifest.sha256, "examples": content_digest(Path(examples.uri))}
    if transform_graph is not None:
        parents["transform_graph"] = content_digest(Path(transform_graph.uri))
    folder = Path(trained.uri)
    checkpoints = checkpoint_folder(folder, [spec, task, task_version, code_version, *parents.values()])
    report = train(
        StepInputs(
            source=Path(model.uri),
            folder=folder,
            name=node,
            task=task,
            label=label,
            decoder=ExampleDecoder(task, transform_graph.uri if transform_graph is not None else None),
            files=split_files(examples.uri, split),
            checkpoints=checkpoints,
            logs=folder / LOGS_FOLDER,
        )
    )
    source.check()
    write_atomically(folder / TRAINING_FILE, report.model_dump_json(indent=2).encode() + b"\n")
    manifest = write_manifest(folder, SERVING_FOLDER, role="trained", parents=parents, code_version=code_version)
    describe(trained, manifest, step=report.kind, epochs=len(report.epochs), **_of_weights(report))
    remove_checkpoints(checkpoints)


def _of_weights(report: TrainingReport) -> dict[str, int | float]:
    if not report.weights:
        return {}
    return {
        "least_sparsity": min(fact.sparsity for fact in report.weights),
        "most_values": max(fact.unique_values for fact in report.weights),
    }
