"""TFX shell of quantization-aware training: Examples and a Model -> a Model with trained ranges."""

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, Model, TransformGraph

from components.quantize.qat_spec import QatStep
from components.quantize.recurrent.plan import Form
from components.quantize.scheme import Scheme
from components.step_shell import run_step
from components.training_spec import Preserve
from components.values import Value


class QatSpec(Value):
    """What one training node is asked: its `spec` parameter.

    Attributes:
        recipe: Name of the recipe, for messages.
        step: The recipe's step.
        scheme: The recipe's numeric format.
        preserve: What earlier steps of the recipe made, and this one keeps.
        split: Split to train on.
        recurrent: The recipe's form of recurrent layers.
    """

    recipe: str
    step: QatStep
    scheme: Scheme
    preserve: Preserve = Preserve()
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
    """Train the model under quantization. Beside the SavedModel lie `training.json` and TensorBoard's logs."""
    from components.quantize.training import train_quantized

    asked = QatSpec.model_validate_json(spec)
    run_step(
        lambda inputs: train_quantized(inputs, asked.step, asked.scheme, asked.preserve, asked.recurrent),
        examples=examples,
        model=model,
        trained=trained,
        transform_graph=transform_graph,
        spec=spec,
        recipe=asked.recipe,
        split=asked.split,
        task=task,
        label=label,
        task_version=task_version,
        code_version=code_version,
    )
