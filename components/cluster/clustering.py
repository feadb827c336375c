"""Clusters the kernels of a Keras model by one-dimensional k-means. Imports TensorFlow.

TFMOT's initializers set the initial centroids. Its wrappers are not used: they support neither nested models nor
recurrent layers, and they reassign weights to centroids in each batch, which keeps training from converging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import ModelError, SpecError, some_of
from components.facts.training import LayerPlan
from components.model.keras_model import check_learns
from components.model.weight_tensors import WeightTensor, chosen_kernels, named_layers
from components.spec.scheme import Scheme
from components.spec.steps.cluster import ClusterStep, Initialization
from components.spec.steps.layer_patterns import fits
from components.upstream.tfmot import initial_centroids

_KINDS = {"linear": "LINEAR", "random": "RANDOM", "density": "DENSITY_BASED", "kmeans++": "KMEANS_PLUS_PLUS"}
# In one dimension, k-means converges within a few tens of rounds.
_ROUNDS = 100


@dataclass(frozen=True)
class Target:
    """One kernel to cluster.

    Attributes:
        kernel: The kernel.
        num_clusters: Number of values that its weights share.
    """

    kernel: WeightTensor
    num_clusters: int


def targets(model: Any, step: ClusterStep) -> tuple[Target, ...]:
    """The kernels of a built Keras model that a step clusters.

    Raises:
        SpecError: A name or glob matches no layer, or nothing is left to cluster.
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
            remedy="choose other layers, or remove the step",
        )
    few = {target.kernel.layer: target for target in found if target.kernel.size <= target.num_clusters}
    if few:
        raise ModelError(
            "there are at least as many centroids as weights",
            where=f"layer {some_of(few)}",
            bound="fewer centroids than the kernel has weights",
            measured="; ".join(f"{one.kernel.name}: {one.num_clusters} of {one.kernel.size}" for one in few.values()),
            remedy=f"leave them out with `except: [{', '.join(few)}]`, or lower `num_clusters`",
        )
    return found


def _num_clusters_of(layer: str, step: ClusterStep) -> int:
    own = [target.num_clusters for target in step.targets if fits(layer, target.layers)]
    return own[-1] if own else step.num_clusters


def preview(model: Any, step: ClusterStep, scheme: Scheme | None = None) -> tuple[LayerPlan, ...]:  # noqa: ARG001
    """How the step will treat each layer. This does not depend on the scheme.

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
    """Cluster kernels from `targets` in place. With `zeros`, zeros stay zero."""
    for target in found:
        variable = target.kernel.variable
        variable.assign(clustered(variable.numpy(), target.num_clusters, step.initialization, zeros))


def clustered(
    values: npt.NDArray[Any], centroids: int, initialization: Initialization = "linear", zeros: bool = False
) -> npt.NDArray[Any]:
    """Replace each weight of a kernel with its centroid.

    Args:
        values: float32 of any shape.
        centroids: Maximum number of centroids.
        initialization: How to choose the initial centroids. `random` depends on TensorFlow's global seed.
        zeros: Whether one centroid is zero, for exactly the weights that are zero.

    Returns:
        Array like `values` with at most `centroids` distinct values. Each of them, except a preserved zero, is the mean
        of the weights it replaces (Lloyd's algorithm).
    """
    flat = values.reshape(-1)
    keeps_zero = zeros and bool(np.any(flat == 0))
    start = initial_centroids(_KINDS[initialization], flat, centroids, keeps_zero)
    members = flat[flat != 0] if keeps_zero else flat
    held = np.unique(start[start != 0] if keeps_zero else start).astype(np.float64)
    nearest = np.zeros(len(members), np.int64)
    for _ in range(_ROUNDS):
        nearest = np.searchsorted((held[1:] + held[:-1]) / 2, members)
        counts = np.bincount(nearest, minlength=len(held))
        sums = np.bincount(nearest, members.astype(np.float64), minlength=len(held))
        # Drop centroids without weights.
        moved = (sums / np.maximum(counts, 1))[counts > 0]
        if len(moved) == len(held) and np.array_equal(moved, held):
            break
        held = moved
    nearest = np.searchsorted((held[1:] + held[:-1]) / 2, members)
    result = np.zeros_like(flat)
    result[flat != 0 if keeps_zero else slice(None)] = held.astype(flat.dtype)[nearest]
    return result.reshape(values.shape)
