"""The `qat` step: reads a baseline's folder and writes a trained model's folder. Imports TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from components.cells import sru  # noqa: F401 - registers the layer
from components.data.training_data import TrainingData
from components.facts.training import Export, TrainingReport
from components.fake_quantize.qat import (
    check_ranges,
    preview,
    quantized,
    ready_to_export,
    trained_kernels,
    trained_ranges,
)
from components.fine_tune.constraints import Constraint
from components.fine_tune.loop import steps_per_epoch
from components.fine_tune.step import StepInputs
from components.lowering.deploy import deploy, has_recurrent
from components.lowering.lowering import STEP_EXAMPLES
from components.model.keras_model import export, output_names
from components.model.weight_tensors import weight_fact
from components.spec.scheme import Form, Scheme
from components.spec.steps.fine_tuning import WeightInvariants
from components.spec.steps.qat import QatStep

_LOG = logging.getLogger(__name__)
_NOTHING = WeightInvariants()


def train_quantized(
    inputs: StepInputs,
    step: QatStep,
    scheme: Scheme,
    invariants: WeightInvariants = _NOTHING,
    recurrent: Form | None = None,
) -> TrainingReport:
    """Train a model under quantization and write its SavedModel, including fake quantization.

    Raises:
        SpecError, ModelError, DataError: See `quantized`, `fine_tune`, and `StepInputs`.
    """
    model, maker = inputs.load()
    layers = preview(model, step, scheme)
    for layer in layers:
        _LOG.info(
            "%s: %s (%s): %s%s%s", inputs.name, layer.layer, layer.kind, layer.mode,
            f"; weights {layer.weights}" if layer.weights else "", f"; outputs {layer.outputs}; {layer.note}",
        )  # fmt: skip
    data = inputs.load_data(model)
    tf.keras.utils.set_random_seed(step.seed)
    trained = quantized(model, step, scheme, steps_per_epoch(data, step), invariants)
    # Layers that observe ranges end the model, but the task's losses and targets use the baseline's names.
    trained.output_names = list(output_names(model))
    held = trained_kernels(trained)
    constraint = Constraint([kernel.variable for kernel in held], invariants)
    freezing = _freezing(trained, step.freeze_batch_norm)
    state = inputs.train(trained, maker, data, step, before_epoch=freezing, after_batch=constraint)
    ranges = trained_ranges(trained)
    check_ranges(ranges)
    ready_to_export(trained)
    route: Export = "plain"
    if has_recurrent(trained):
        names, form = output_names(model), recurrent or "sequence"
        route = deploy(trained, form, inputs.folder, names, _sequences(trained, data, step))
    else:
        export(trained, inputs.folder, output_names(model))
    weights = tuple(weight_fact(kernel) for kernel in held) if inputs.earlier() is not None else ()
    return inputs.report(step, state, layers=layers, ranges=ranges, weights=weights, export=route)


def _sequences(model: Any, data: TrainingData, step: QatStep) -> dict[str, Any]:
    """Return a few sequences of the training split, by model input."""
    inputs, *_ = next(iter(data.batches(STEP_EXAMPLES, step.seed)))
    names = [tensor.name.partition(":")[0] for tensor in model.inputs]
    named = inputs if isinstance(inputs, Mapping) else {"": inputs}
    named = {names[0]: named[""]} if set(named) == {""} else named
    return {name: np.asarray(named[name]) for name in names}


def _freezing(model: Any, epoch: int | None) -> Callable[[int], bool]:
    """The callback that freezes batch normalization from `epoch` on; it returns whether it just did so."""
    inner = [getattr(layer, "layer", layer) for layer in model.layers]
    norms = [layer for layer in inner if isinstance(layer, tf.keras.layers.BatchNormalization)]

    def before_epoch(index: int) -> bool:
        if epoch is None or index < epoch or not any(norm.trainable for norm in norms):
            return False
        for norm in norms:
            norm.trainable = False
        return True

    return before_epoch
