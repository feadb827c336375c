"""The two nodes that produce a baseline: TFX's Trainer with Edgemill's run_fn and manifest, and a model import."""

import json
from pathlib import Path
from typing import Any

from tfx.components.trainer.component import Trainer
from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base import executor_spec
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils
from tfx.types.channel import BaseChannel
from tfx.types.standard_artifacts import Model

from components.baseline.pretrained import import_model
from components.core.files import check_unchanged, sha256_of
from components.core.remembered_digests import content_digest
from components.data.task import load_task
from components.facts.artifact_paths import SERVING_FOLDER
from components.facts.manifest import describe, write_manifest
from components.spec.baseline import PretrainedBaseline, TrainedBaseline
from components.upstream.tfx.dsl import OutputArtifact, Parameter, component
from components.upstream.tfx.executors import trainer_config


class BaselineExecutor(GenericExecutor):
    """Trains with `run_fn`, then writes the manifest."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """See the base class."""
        super().Do(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(output_dict["model"])
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        manifest = write_manifest(
            Path(model.uri),
            SERVING_FOLDER,
            role="baseline",
            parents={"examples": content_digest(Path(examples.uri))},
            code_version=trainer_config(self, input_dict, output_dict, exec_properties)["code_version"],
        )
        describe(model, manifest)


class BaselineTrainer(Trainer):
    """Trains a pipeline's float baseline."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(BaselineExecutor)


def baseline_trainer(
    examples: BaseChannel,
    transform_graph: BaseChannel | None,
    spec: TrainedBaseline,
    *,
    task: str,
    label: str,
    task_version: str,
    code_version: str,
) -> BaselineTrainer:
    """Create the node that trains the baseline. Outputs: `model` (a SavedModel in `Format-Serving`) and `model_run`."""
    return BaselineTrainer(
        examples=examples,
        transform_graph=transform_graph,
        run_fn="components.baseline.trained.run_fn",
        train_args=trainer_pb2.TrainArgs(splits=[spec.split]),
        eval_args=trainer_pb2.EvalArgs(splits=[spec.split]),
        custom_config={
            "spec": spec.model_dump_json(),
            "task": task,
            "label": label,
            "task_version": task_version,
            "code_version": code_version,
        },
    )


@component
def PretrainedModel(
    path: Parameter[str],
    spec: Parameter[str],
    sha256: Parameter[str],
    task: Parameter[str],
    task_version: Parameter[str],  # noqa: ARG001
    code_version: Parameter[str],
    model: OutputArtifact[Model],
) -> None:
    """Imports a pretrained model. The file's digest is a parameter so that a changed file invalidates the cache.

    `spec` is a PretrainedBaseline as JSON, without its path, which differs in the image of a cluster.
    """
    # Importing the task registers its custom layers. Its version is a parameter for the same reason as the digest.
    load_task(task)
    import_model(PretrainedBaseline.model_validate({**json.loads(spec), "path": path}), Path(model.uri))
    check_unchanged(Path(path), sha256_of(Path(path)), sha256)
    manifest = write_manifest(
        Path(model.uri), SERVING_FOLDER, role="baseline", parents={"pretrained": sha256}, code_version=code_version
    )
    describe(model, manifest)
