"""TFX shell of pruning: Examples and a Model -> a Model with zeros."""

from tfx.types.standard_artifacts import Examples, Model, TransformGraph

from components.core.values import FrozenModel
from components.fine_tune.shell import run_step
from components.spec.steps.prune import PruneStep
from components.upstream.tfx.dsl import InputArtifact, OutputArtifact, Parameter, component


class PruneSpec(FrozenModel):
    """The `spec` parameter of a pruning node.

    Attributes:
        node: ID of the node, for messages. Several recipes may share the node.
        step: The recipe's step.
        split: Split to train on.
    """

    node: str
    step: PruneStep
    split: str


@component
def Pruner(
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
    """Prune a model while it trains. `training.json` records the sparsity of each kernel."""
    from components.prune.training import train_pruned

    params = PruneSpec.model_validate_json(spec)
    run_step(
        lambda inputs: train_pruned(inputs, params.step),
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
