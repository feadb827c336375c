"""TFX shell of pruning: Examples and a Model -> a Model with zeros."""

from typing import Any

from components.fine_tune.shell import training_step
from components.spec.steps.prune import PruneStep


@training_step
def Pruner(inputs: Any, step: PruneStep) -> Any:
    """Prune a model while it trains. `training.json` records the sparsity of each kernel."""
    from components.prune.training import train_pruned

    return train_pruned(inputs, step)
