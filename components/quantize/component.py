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
    """The `spec` parameter of a training node.

    Attributes:
        node: ID of the node, for messages. Several recipes may share the node.
        step: The recipe's step.
        scheme: The recipe's numeric format.
        invariants: Properties that earlier steps gave the weights and that this step preserves.
        split: Split to train on.
        recurrent: The recipe's form for recurrent layers.
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
    """Train the model under quantization. Write a SavedModel, `training.json`, and TensorBoard logs."""
    from components.quantize.training import train_quantized

    params = QatSpec.model_validate_json(spec)
    run_step(
        lambda inputs: train_quantized(inputs, params.step, params.scheme, params.invariants, params.recurrent),
        examples=examples,
        model=model,
        trained=trained,
        transform_graph=transform_graph,
        spec=spec,
        node=params.node,
        split=params.split,
        task=task,
        label=label,
        task_version=task_version,
        code_version=code_version,
    )
