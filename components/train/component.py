"""TFX's Trainer, with our run_fn, a manifest and custom properties."""

from pathlib import Path
from typing import Any

from tfx.components.trainer.component import Trainer
from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base import executor_spec
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils
from tfx.types.channel import BaseChannel

from components.files import sha256_of
from components.manifest import describe, write_manifest
from components.train.baseline import SERVING_FOLDER
from components.train.spec import TrainedBaseline


class BaselineExecutor(GenericExecutor):
    """Trains by `run_fn`, then writes the manifest."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """See the base class."""
        super().Do(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(output_dict["model"])
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        config = self._GetFnArgs(input_dict, output_dict, exec_properties).custom_config
        manifest = write_manifest(
            Path(model.uri),
            SERVING_FOLDER,
            role="baseline",
            parents={"examples": sha256_of(Path(examples.uri))},
            code_version=config["code_version"],
        )
        describe(model, manifest)


class BaselineTrainer(Trainer):
    """Trains the float baseline of a pipeline."""

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
    """The node that trains the baseline. Outputs `model` (with SavedModel and Keras file) and `model_run`."""
    return BaselineTrainer(
        examples=examples,
        transform_graph=transform_graph,
        run_fn="components.train.baseline.run_fn",
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
