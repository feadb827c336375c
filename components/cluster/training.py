"""The step `cluster` from a model's folder to a clustered model's folder. Imports TensorFlow."""

from __future__ import annotations

import logging

import tensorflow as tf

from components.cluster.clustering import cluster, targets
from components.cluster.spec import ClusterStep
from components.constraints import Constraint
from components.keras_model import export, output_names, save_keras
from components.kernels import kernels, weight_fact
from components.report import TrainingReport
from components.step_training import StepInputs
from components.training import fine_tune
from components.training_spec import Preserve

_LOG = logging.getLogger(__name__)


def train_clustered(inputs: StepInputs, step: ClusterStep, preserve: Preserve) -> TrainingReport:
    """Cluster a model's weights, train it on, and write its SavedModel and its Keras model.

    Args:
        inputs: What to start from.
        step: How to cluster and train.
        preserve: What an earlier step made.

    Returns:
        What happened.

    Raises:
        SpecError, ModelError, DataError: As told by `targets`, `fine_tune` and `StepInputs`.
    """
    model, maker = inputs.load()
    found = targets(model, step)
    data = inputs.load_data(model)
    tf.keras.utils.set_random_seed(step.seed)
    cluster(found, step, preserve.zeros)
    keeps = Preserve(zeros=preserve.zeros, centroids=step.most_centroids)
    state = fine_tune(
        model,
        maker,
        data,
        step,
        name=inputs.name,
        checkpoints=inputs.checkpoints,
        logs=inputs.logs,
        after_batch=Constraint([kernel.variable for kernel in kernels(model)], keeps),
    )
    export(model, inputs.folder, output_names(model))
    save_keras(model, inputs.folder)
    earlier = inputs.earlier()
    weights = tuple(weight_fact(target.kernel, wanted_values=target.centroids) for target in found)
    for fact in weights:
        _LOG.info("%s: %s %s: %d values", inputs.name, fact.layer, fact.weight, fact.unique_values)
    return TrainingReport(
        recipe=inputs.name,
        kind=step.kind,
        epochs=state.epochs,
        best_epoch=state.best_epoch,
        weights=weights,
        claim=earlier.claim if earlier is not None else None,
    )
