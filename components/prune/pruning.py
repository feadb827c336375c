"""Prunes a Keras model: target sparsities of kernels, and masks during training. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from components.core.errors import ModelError, SpecError, some_of
from components.facts.training import LayerPlan, PruningSensitivity
from components.model.keras_model import check_learns
from components.model.weight_tensors import WeightTensor, chosen_kernels, named_layers
from components.prune.masks import LEVELS, mask_of, spread
from components.spec.scheme import Scheme
from components.spec.steps.layer_patterns import fits
from components.spec.steps.prune import PruneStep, group_of, sparsity_at
from components.spec.steps.sparsity import sparse_kernels

# Number of examples to measure changes of the output on.
_PROBES = 256


@dataclass(frozen=True)
class Target:
    """One kernel to prune.

    Attributes:
        kernel: The kernel.
        sparsity: Its final sparsity.
    """

    kernel: WeightTensor
    sparsity: float


def targets(model: Any, step: PruneStep) -> tuple[Target, ...]:
    """The kernels of a built Keras model that a step prunes.

    Raises:
        SpecError: A name or glob matches no layer, or nothing is left to prune.
        ModelError: The structure does not fit a kernel. The message names all such layers.
    """
    chosen = chosen_kernels(model, step.layers, step.except_layers, [target.layers for target in step.targets])
    found = [Target(kernel, _sparsity_of(kernel.layer, step)) for kernel in chosen]
    pruned = tuple(target for target in found if target.sparsity > 0)
    if not pruned:
        raise SpecError(
            "the step prunes nothing",
            where="layers",
            bound="at least one layer with a kernel, and a sparsity above 0",
            measured=f"layers {list(step.layers)}, except {list(step.except_layers)}, sparsity {step.wanted:g}",
            remedy="choose other layers, or remove the step",
        )
    _check_divides(pruned, step)
    return pruned


def _sparsity_of(layer: str, step: PruneStep) -> float:
    own = [target.sparsity for target in step.targets if fits(layer, target.layers)]
    return own[-1] if own else step.wanted


def _check_divides(pruned: Sequence[Target], step: PruneStep) -> None:
    group = group_of(step.structure)
    if group == 1:
        return
    wrong = {}
    for target in pruned:
        kernel = target.kernel
        if kernel.input_axis is None:
            wrong[kernel.layer] = f"{kernel.name}: no input axis"
        elif kernel.shape[kernel.input_axis] % group:
            wrong[kernel.layer] = f"{kernel.name}: {kernel.shape[kernel.input_axis]} inputs"
    if wrong:
        raise ModelError(
            f"the structure {step.structure} does not fit these layers",
            where=f"layer {some_of(wrong)}",
            bound=f"kernels whose input axis is a multiple of {group}",
            measured="; ".join(wrong.values()),
            remedy=f"leave them out with `except: [{', '.join(wrong)}]`, or use `structure: unstructured`",
        )


def preview(model: Any, step: PruneStep, scheme: Scheme) -> tuple[LayerPlan, ...]:
    """How the step will treat each layer, and whether sparse kernels will execute the layer.

    Raises:
        SpecError, ModelError: See `targets`.
    """
    check_learns(model, "model")
    pruned = {target.kernel.layer: target for target in targets(model, step)}
    asked = [(name, target.kernel.kind, target.kernel.shape) for name, target in pruned.items()]
    notes = {kernel.layer: kernel.note for kernel in sparse_kernels(asked, scheme, step.structure)}
    plans = []
    for name, layer in named_layers(model):
        target = pruned.get(name)
        sparsity = "chosen by sensitivity" if step.spread == "sensitivity" else f"{target.sparsity:g}" if target else ""
        plans.append(
            LayerPlan(
                layer=name,
                kind=type(layer).__name__,
                mode="pruned" if target else "as it is",
                weights=f"sparsity {sparsity}, {step.structure}" if target else "",
                note=(notes[name] or "executed by a sparse kernel, if the runtime has one") if target else "",
            )
        )
    return tuple(plans)


def by_sensitivity(
    model: Any, pruned: Sequence[Target], step: PruneStep, inputs: Any
) -> tuple[tuple[Target, ...], tuple[PruningSensitivity, ...]]:
    """Distribute the step's sparsity over kernels by sensitivity, the effect on the output of pruning each one alone.

    The model's weights are restored.

    Returns:
        The kernels that get a sparsity above 0, and the measured sensitivity of all.
    """
    outputs = _outputs(model, inputs)
    scales = [max(float(np.var(values)), 1e-12) for values in outputs]
    errors = []
    for target in pruned:
        variable = target.kernel.variable
        held = variable.numpy()
        of_kernel = []
        for level in LEVELS:
            variable.assign(held * _mask(target.kernel, held, level, step))
            changes = zip(_outputs(model, inputs), outputs, scales, strict=True)
            # The mean over the outputs, each relative to its own scale.
            of_kernel.append(float(np.mean([np.mean((new - old) ** 2) / scale for new, old, scale in changes])))
        variable.assign(held)
        errors.append(of_kernel)
    sparsities = spread([target.kernel.size for target in pruned], LEVELS, errors, step.wanted)
    found = zip(pruned, errors, sparsities, strict=True)
    facts = tuple(
        PruningSensitivity(layer=target.kernel.name, levels=LEVELS, errors=tuple(of_kernel), chosen=sparsity)
        for target, of_kernel, sparsity in found
    )
    spread_over = zip(pruned, sparsities, strict=True)
    return tuple(replace(target, sparsity=sparsity) for target, sparsity in spread_over if sparsity > 0), facts


def _mask(kernel: WeightTensor, values: Any, sparsity: float, step: PruneStep) -> Any:
    """The pruning mask of a kernel. Each gate of a recurrent kernel is pruned to the sparsity separately."""
    parts = np.split(values, kernel.gates, axis=-1)
    return np.concatenate([mask_of(part, sparsity, step.structure, kernel.input_axis) for part in parts], axis=-1)


def probes(batches: Any) -> Any:
    """The inputs of the first `_PROBES` examples of a dataset of batches that begin with inputs."""
    held, count = [], 0
    for inputs, *_ in batches:
        held.append(inputs)
        count += int(tf.nest.flatten(inputs)[0].shape[0])
        if count >= _PROBES:
            break
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0)[:_PROBES], *held)


def _outputs(model: Any, inputs: Any) -> list[Any]:
    return [values.numpy().astype(np.float64) for values in tf.nest.flatten(model(inputs, training=False))]


class MagnitudePruning:
    """An `after_batch` callback of `fine_tune` that applies pruning masks on the step's schedule.

    Zeros stay zero, because they have the smallest magnitude when masks are recomputed. An interrupted training
    therefore resumes with the same result.
    """

    def __init__(self, step: PruneStep, pruned: Sequence[Target]) -> None:
        self._step, self._targets = step, tuple(pruned)
        self._masks = [
            tf.Variable(tf.ones(target.kernel.shape, target.kernel.variable.dtype), trainable=False)
            for target in self._targets
        ]
        self._at: list[float] | None = None

        @tf.function(autograph=False)
        def project() -> None:
            for target, mask in zip(self._targets, self._masks, strict=True):
                target.kernel.variable.assign(target.kernel.variable * mask)

        self._project = project

    def __call__(self, done: int, steps_per_epoch: int) -> None:
        """Recompute the masks if they are due after `done` batches, and apply them."""
        step = self._step
        chosen_at = done if done >= step.ends * steps_per_epoch else done - done % step.update_every
        sparsities = [sparsity_at(step, target.sparsity, chosen_at / steps_per_epoch) for target in self._targets]
        if sparsities != self._at:
            for target, mask, sparsity in zip(self._targets, self._masks, sparsities, strict=True):
                mask.assign(_mask(target.kernel, target.kernel.variable.numpy(), sparsity, step))
            self._at = sparsities
        self._project()


def check_zeros(pruned: Sequence[Target], step: PruneStep) -> None:
    """Check that training kept the required zeros.

    Raises:
        ModelError: A pruned weight is no longer zero.
    """
    for target in pruned:
        kernel = target.kernel
        values = kernel.variable.numpy()
        kept = _mask(kernel, values, target.sparsity, step)
        if np.any(values[~kept]):
            raise ModelError(
                "pruned weights are no longer zero after training",
                where=f"layer {kernel.name}",
                bound=f"{int(np.sum(~kept))} of {kernel.size} weights zero",
                measured=int(np.sum(values == 0)),
                remedy="do not assign this layer's kernel in the task's train_step, constraints, or callbacks",
            )
