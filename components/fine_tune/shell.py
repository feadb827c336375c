"""The TFX shell that all training steps share: from artifacts to plain values, and back."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import validate_call
from tfx.types.standard_artifacts import Examples, Model, TransformGraph

from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.core.values import serialized
from components.data.examples import ExampleDecoder, split_files
from components.facts.artifact_paths import LOGS_FOLDER, SERVING_FOLDER, TRAINING_FILE
from components.facts.manifest import describe, write_manifest
from components.facts.training import TrainingReport
from components.facts.verified import verified
from components.upstream.tfx.dsl import InputArtifact, OutputArtifact, Parameter, component


def training_step(train: Callable[..., TrainingReport]) -> Any:
    """Make a step a TFX component with the step's name, module, and docstring.

    The component writes the SavedModel, `training.json`, TensorBoard logs, and the manifest. The fields of its `spec`
    are `node` (the node's ID, for messages, because several recipes may share the node), `split` (the split to train
    on), and the step's own arguments.

    Args:
        train: A function at the top level of a module. It takes a `StepInputs`, and arguments that Pydantic validates
            by their annotations.
    """

    @functools.wraps(train, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def shell(
        examples: InputArtifact[Examples],
        model: InputArtifact[Model],
        trained: OutputArtifact[Model],
        spec: Parameter[str],
        task: Parameter[str],
        label: Parameter[str],
        task_version: Parameter[str],
        code_version: Parameter[str],
        transform_graph: InputArtifact[TransformGraph] = None,
    ) -> None:
        from components.fine_tune.step import StepInputs, checkpoint_folder, remove_checkpoints

        asked = json.loads(spec)
        source = verified(model)
        parents = {"model": source.manifest.sha256, "examples": content_digest(Path(examples.uri))}
        if transform_graph is not None:
            parents["transform_graph"] = content_digest(Path(transform_graph.uri))
        folder = Path(trained.uri)
        checkpoints = checkpoint_folder(folder, [spec, task, task_version, code_version, *parents.values()])
        inputs = StepInputs(
            source=Path(model.uri),
            folder=folder,
            name=asked.pop("node"),
            task=task,
            label=label,
            decoder=ExampleDecoder(task, transform_graph.uri if transform_graph is not None else None),
            files=split_files(examples.uri, asked.pop("split")),
            checkpoints=checkpoints,
            logs=folder / LOGS_FOLDER,
        )
        report = validate_call(train)(inputs, **asked)
        source.check()
        write_atomically(folder / TRAINING_FILE, serialized(report))
        manifest = write_manifest(folder, SERVING_FOLDER, role="trained", parents=parents, code_version=code_version)
        describe(trained, manifest, step=report.kind, epochs=len(report.epochs), **_of_weights(report))
        remove_checkpoints(checkpoints)

    return component(shell)


def _of_weights(report: TrainingReport) -> dict[str, int | float]:
    if not report.weights:
        return {}
    return {
        "least_sparsity": min(fact.sparsity for fact in report.weights),
        "most_values": max(fact.unique_values for fact in report.weights),
    }
