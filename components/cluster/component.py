"""TFX shell of clustering: Examples and a Model -> a Model with shared weights."""

from typing import Any

from components.fine_tune.shell import training_step
from components.spec.steps.cluster import ClusterStep
from components.spec.steps.fine_tuning import WeightInvariants


@training_step
def Clusterer(inputs: Any, step: ClusterStep, invariants: WeightInvariants) -> Any:
    """Cluster a model's weights and train them. `training.json` records the number of values of each kernel."""
    from components.cluster.training import train_clustered

    return train_clustered(inputs, step, invariants)
