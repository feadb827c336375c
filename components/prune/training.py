"""The `prune` step: reads a model's folder and writes a pruned model's folder. Imports TensorFlow."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import tensorflow as tf

from components.facts.training import PruningSensitivity, TrainingReport, WeightFact
from components.fine_tune.step import StepInputs
from components.model.keras_model import export, output_names, save_keras
from components.model.weight_tensors import weight_fact
from components.prune.pruning import MagnitudePruning, Target, by_sensitivity, check_zeros, probes, targets
from components.spec.steps.prune import PruneStep
from components.spec.steps.sparsity import SparsityTarget

_LOG = logging.getLogger(__name__)
# A file stores their weights as tables or in other shapes, so that their sparsity cannot be verified.
_NO_KERNEL = frozenset({"Embedding", "MultiHeadAttention"})


def train_pruned(inputs: StepInputs, step: PruneStep) -> TrainingReport:
    """Prune a model while it trains, and write its SavedModel and its Keras model.

    Raises:
        SpecError, ModelError, DataError: See `targets`, `fine_tune`, `check_zeros`, and `StepInputs`.
    """
    model, maker = inputs.load()
    pruned = targets(model, step)
    data = inputs.load_data(model)
    tf.keras.utils.set_random_seed(step.seed)
    sensitivity: tuple[PruningSensitivity, ...] = ()
    if step.spread == "sensitivity":
        pruned, sensitivity = by_sensitivity(model, pruned, step, probes(data.batches(step.batch_size, step.seed)))
    for target in pruned:
        kernel = target.kernel
        _LOG.info("%s: %s %s to a sparsity of %.3f", inputs.name, kernel.name, kernel.shape, target.sparsity)
    hooks = {"after_batch": MagnitudePruning(step, pruned), "counts_from": math.ceil(step.ends)}
    state = inputs.train(model, maker, data, step, **hooks)
    check_zeros(pruned, step)
    export(model, inputs.folder, output_names(model))
    save_keras(model, inputs.folder)
    weights = tuple(weight_fact(target.kernel, wanted_sparsity=target.sparsity) for target in pruned)
    for fact in weights:
        _LOG.info("%s: %s %s: sparsity %.4f", inputs.name, fact.layer, fact.weight, fact.sparsity)
    zeros = _target_of(step, pruned, weights)
    return inputs.report(step, state, weights=weights, sensitivity=sensitivity, sparsity_target=zeros)


def _target_of(step: PruneStep, pruned: Sequence[Target], weights: Sequence[WeightFact]) -> SparsityTarget | None:
    held = [
        (shape, fact.sparsity)
        for target, fact in zip(pruned, weights, strict=True)
        if target.kernel.kind not in _NO_KERNEL
        for shape in target.kernel.shapes_in_a_file
        # If a kernel has so few weights that none was pruned, there is nothing to verify.
        if fact.sparsity > 0
    ]
    if not held:
        return None
    return SparsityTarget(
        structure=step.structure,
        sparsity=min(sparsity for _, sparsity in held),
        kernels=tuple(shape for shape, _ in held),
        sparsities=tuple(sparsity for _, sparsity in held),
    )
