"""Clustering a Keras model: which kernels to how many values. Imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.cluster.centroids import clustered
from components.cluster.spec import ClusterStep
from components.errors import ModelError, SpecError
from components.kernels import Kernel, chosen_kernels, named_layers
from components.layer_patterns import fits
from components.report import LayerPlan
from components.wording import some_of


@dataclass(frozen=True)
class Target:
    """One kernel that is clustered.

    Attributes:
        kernel: Where it is.
        centroids: Number of its values.
    """

    kernel: Kernel
    centroids: int


def targets(model: Any, step: ClusterStep) -> tuple[Target, ...]:
    """The kernels that a step clusters.

    Args:
        model: A Keras model that is built.
        step: The recipe's.

    Raises:
        SpecError: A name or glob fits no layer, or nothing is left to cluster.
        ModelError: A kernel has no more weights than values; the message names all such layers.
    """
    chosen = chosen_kernels(model, step.layers, step.except_layers, [target.layers for target in step.targets])
    found = tuple(Target(kernel, _centroids_of(kernel.layer, step)) for kernel in chosen)
    if not found:
        raise SpecError(
            "the step clusters nothing",
            where="layers",
            bound="at least one layer with a kernel",
            measured=f"layers {list(step.layers)}, except {list(step.except_layers)}",
            remedy="name other layers, or remove the step",
        )
    few = {target.kernel.layer: target for target in found if target.kernel.size <= target.centroids}
    if few:
        raise ModelError(
            "there are more centroids than weights, or as many",
            where=f"layer {some_of(few)}",
            bound="fewer centroids than the kernel has weights",
            measured="; ".join(f"{one.kernel.name}: {one.centroids} of {one.kernel.size}" for one in few.values()),
            remedy=f"leave them out by `except: [{', '.join(few)}]`, or lower `centroids`",
        )
    return found


def _centroids_of(layer: str, step: ClusterStep) -> int:
    own = [target.centroids for target in step.targets if fits(layer, target.layers)]
    return own[-1] if own else step.centroids


def preview(model: Any, step: ClusterStep) -> tuple[LayerPlan, ...]:
    """What the step will do to each layer.

    Raises:
        SpecError, ModelError: As `targets`.
    """
    by_layer = {target.kernel.layer: target for target in targets(model, step)}
    return tuple(
        LayerPlan(
            layer=name,
            kind=type(layer).__name__,
            mode="clustered" if name in by_layer else "as it is",
            weights=f"{by_layer[name].centroids} values" if name in by_layer else "",
        )
        for name, layer in named_layers(model)
    )


def cluster(found: tuple[Target, ...], step: ClusterStep, zeros: bool) -> None:
    """Give the kernels shared values, in place.

    Args:
        found: What `targets` found.
        step: The recipe's.
        zeros: Whether what is zero stays zero.
    """
    for target in found:
        variable = target.kernel.variable
        variable.assign(clustered(variable.numpy(), target.centroids, step.initialization, zeros))
