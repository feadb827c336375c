"""TFX shell of quantization-aware training: Examples and a Model -> a Model with trained ranges."""

from tfx.types.standard_artifacts import Examples, Model, TransformGraph

from components.core.values import FrozenModel
from components.fine_tune.shell import run_step
from components.spec.recurrent import Form
from components.spec.scheme import Scheme
from components.spec.steps.fine_tuning import WeightInvariants
from components.spec.steps.qat import QatStep
from components.upstream.tfx.dsl import InputArtifact, OutputArtifact, Parameter, component


class QatSpec(FrozenModel):
    """What one training node is asked: its `spec` parameter.

    Attributes:
        node: Id of the node, for messages: several recipes may share it.
        step: The recipe's step.
        scheme: The recipe's numeric format.
        invariants: What earlier steps of the recipe made, and this one keeps.
        split: Split to train on.
        recurrent: The recipe's form of recurrent layers.
    """

    node: str
    step: QatStep
    scheme: Scheme
    invariants: WeightInvariants = WeightInvariants()
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
        lambda inputs: train_quantized(inputs, asked.step, asked.scheme, asked.invariants, asked.recurrent),
        examples=examples,
        model=model,
        trained=trained,
        transform_graph=transform_graph,
        spec=spec,
        node=asked.node,
        split=asked.split,
        task=task,
        label=label,
        task_version=task_version,
        code_version=code_version,
    )
