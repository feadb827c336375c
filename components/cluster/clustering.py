"""Clustering a Keras model: which kernels get how many values. Imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.cluster.centroids import clustered
from components.core.errors import ModelError, SpecError
from components.core.wording import some_of
from components.facts.training import LayerPlan
from components.model.keras_model import check_learns
from components.model.weight_tensors import Kernel, chosen_kernels, named_layers
from components.spec.scheme import Scheme
from components.spec.steps.cluster import ClusterStep
from components.spec.steps.layer_patterns import fits


@dataclass(frozen=True)
class Target:
    """One kernel to cluster.

    Attributes:
        kernel: The kernel.
        num_clusters: Number of values that it gets.
    """

    kernel: Kernel
    num_clusters: int


def targets(model: Any, step: ClusterStep) -> tuple[Target, ...]:
    """The kernels that a step clusters.

    Args:
        model: A built Keras model.
        step: The recipe's step.

    Raises:
        SpecError: A name or glob fits no layer, or nothing is left to cluster.
        ModelError: A kernel has as many weights as centroids, or fewer. The message names all such layers.
    """
    chosen = chosen_kernels(model, step.layers, step.except_layers, [target.layers for target in step.targets])
    found = tuple(Target(kernel, _num_clusters_of(kernel.layer, step)) for kernel in chosen)
    if not found:
        raise SpecError(
            "the step clusters nothing",
            where="layers",
            bound="at least one layer with a kernel",
            measured=f"layers {list(step.layers)}, except {list(step.except_layers)}",
            remedy="name other layers, or remove the step",
        )
    few = {target.kernel.layer: target for target in found if target.kernel.size <= target.num_clusters}
    if few:
        raise ModelError(
            "there are more centroids than weights, or as many",
            where=f"layer {some_of(few)}",
            bound="fewer centroids than the kernel has weights",
            measured="; ".join(f"{one.kernel.name}: {one.num_clusters} of {one.kernel.size}" for one in few.values()),
            remedy=f"leave them out by `except: [{', '.join(few)}]`, or lower `num_clusters`",
        )
    return found


def _num_clusters_of(layer: str, step: ClusterStep) -> int:
    own = [target.num_clusters for target in step.targets if fits(layer, target.layers)]
    return own[-1] if own else step.num_clusters


def preview(model: Any, step: ClusterStep, scheme: Scheme | None = None) -> tuple[LayerPlan, ...]:  # noqa: ARG001
    """What the step will do to each layer. It does not depend on the scheme.

    Raises:
        SpecError, ModelError: See `targets`.
    """
    check_learns(model, "model")
    by_layer = {target.kernel.layer: target for target in targets(model, step)}
    return tuple(
        LayerPlan(
            layer=name,
            kind=type(layer).__name__,
            mode="clustered" if name in by_layer else "as it is",
            weights=f"{by_layer[name].num_clusters} values" if name in by_layer else "",
        )
        for name, layer in named_layers(model)
    )


def cluster(found: tuple[Target, ...], step: ClusterStep, zeros: bool) -> None:
    """Cluster the kernels in place.

    Args:
        found: The kernels, from `targets`.
        step: The recipe's step.
        zeros: Whether zeros stay zero.
    """
    for target in found:
        variable = target.kernel.variable
        variable.assign(clustered(variable.numpy(), target.num_clusters, step.initialization, zeros))
