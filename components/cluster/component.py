"""TFX shell of clustering: Examples and a Model -> a Model with shared weights."""

from tfx.types.standard_artifacts import Examples, Model, TransformGraph

from components.core.values import FrozenModel
from components.fine_tune.shell import run_step
from components.spec.steps.cluster import ClusterStep
from components.spec.steps.fine_tuning import WeightInvariants
from components.upstream.tfx.dsl import InputArtifact, OutputArtifact, Parameter, component


class ClusterSpec(FrozenModel):
    """The `spec` parameter of a clustering node.

    Attributes:
        node: ID of the node, for messages. Several recipes may share the node.
        step: The recipe's step.
        invariants: Properties that earlier steps gave the weights and that this step preserves.
        split: Split to train on.
    """

    node: str
    step: ClusterStep
    invariants: WeightInvariants
    split: str


@component
def Clusterer(
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
    """Cluster a model's weights and train them. `training.json` records the number of values of each kernel."""
    from components.cluster.training import train_clustered

    params = ClusterSpec.model_validate_json(spec)
    run_step(
        lambda inputs: train_clustered(inputs, params.step, params.invariants),
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
