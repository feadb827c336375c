"""TFX shell of quantization-aware training: Examples and a baseline Model -> a Model with trained ranges."""

from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, Model, TransformGraph

from components.examples import ExampleDecoder, split_files
from components.files import sha256_of, write_atomically
from components.layout import LOGS_FOLDER, SERVING_FOLDER, TRAINING_FILE
from components.manifest import describe, read_manifest, write_manifest
from components.quantize.qat_spec import QatStep
from components.quantize.recurrent.plan import Form
from components.quantize.scheme import Scheme
from components.values import Value


class QatSpec(Value):
    """What one training node is asked: its `spec` parameter.

    Attributes:
        recipe: Name of the recipe, for messages.
        step: The recipe's step.
        scheme: The recipe's numeric format.
        split: Split to train on.
        recurrent: The recipe's form of recurrent layers.
    """

    recipe: str
    step: QatStep
    scheme: Scheme
    split: str
    recurrent: Form | None = None


@component
def QuantizationAwareTrainer(
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
    """Train the baseline under quantization. Beside the SavedModel lie `training.json` and TensorBoard's logs."""
    from components.quantize.training import train_quantized
    from components.training import checkpoint_folder, remove_checkpoints

    asked = QatSpec.model_validate_json(spec)
    parents = {"model": read_manifest(Path(model.uri)).sha256, "examples": sha256_of(Path(examples.uri))}
    if transform_graph is not None:
        parents["transform_graph"] = sha256_of(Path(transform_graph.uri))
    folder = Path(trained.uri)
    checkpoints = checkpoint_folder(folder, [spec, task, task_version, code_version, *parents.values()])
    report = train_quantized(
        Path(model.uri),
        folder,
        asked.step,
        asked.scheme,
        name=asked.recipe,
        task=task,
        label=label,
        decoder=ExampleDecoder(task, transform_graph.uri if transform_graph is not None else None),
        files=split_files(examples.uri, asked.split),
        recurrent=asked.recurrent,
        checkpoints=checkpoints,
        logs=folder / LOGS_FOLDER,
    )
    write_atomically(folder / TRAINING_FILE, report.model_dump_json(indent=2).encode() + b"\n")
    manifest = write_manifest(folder, SERVING_FOLDER, role="trained", parents=parents, code_version=code_version)
    describe(trained, manifest, recipe=asked.recipe, step=asked.step.kind, epochs=len(report.epochs))
    remove_checkpoints(checkpoints)
