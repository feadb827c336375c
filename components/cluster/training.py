"""The `cluster` step: reads a model's folder and writes a clustered model's folder. Imports TensorFlow."""

from __future__ import annotations

import logging

import tensorflow as tf

from components.cluster.clustering import cluster, targets
from components.facts.training import TrainingReport
from components.fine_tune.constraints import Constraint
from components.fine_tune.step import StepInputs
from components.model.keras_model import export, output_names, save_keras
from components.model.weight_tensors import kernels, weight_fact
from components.spec.steps.cluster import ClusterStep
from components.spec.steps.fine_tuning import WeightInvariants

_LOG = logging.getLogger(__name__)


def train_clustered(inputs: StepInputs, step: ClusterStep, invariants: WeightInvariants) -> TrainingReport:
    """Cluster a model's weights, fine-tune it, and write its SavedModel and its Keras model.

    Raises:
        SpecError, ModelError, DataError: See `targets`, `fine_tune`, and `StepInputs`.
    """
    model, maker = inputs.load()
    found = targets(model, step)
    data = inputs.load_data(model)
    tf.keras.utils.set_random_seed(step.seed)
    cluster(found, step, invariants.zeros)
    keeps = WeightInvariants(zeros=invariants.zeros, num_clusters=step.largest_num_clusters)
    constraint = Constraint([kernel.variable for kernel in kernels(model)], keeps)
    state = inputs.train(model, maker, data, step, after_batch=constraint)
    export(model, inputs.folder, output_names(model))
    save_keras(model, inputs.folder)
    weights = tuple(weight_fact(target.kernel, wanted_values=target.num_clusters) for target in found)
    for fact in weights:
        _LOG.info("%s: %s %s: %d values", inputs.name, fact.layer, fact.weight, fact.unique_values)
    return inputs.report(step, state, weights=weights)
