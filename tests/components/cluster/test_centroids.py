"""Weights to a few values, against k-means written out in plain Python."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from components.cluster.clustering import clustered
from components.spec.steps.cluster import ClusterStep

KINDS = ("linear", "random", "density", "kmeans++")


def values(sparsity: float = 0.0) -> Any:
    generator = np.random.default_rng(4)
    kernel = generator.normal(size=[40, 30]).astype(np.float32)
    return np.where(generator.random(kernel.shape) < sparsity, np.float32(0), kernel)


def by_hand(weights: Any, centroids: list[float]) -> list[float]:
    """Lloyd's algorithm, weight by weight."""
    flat = weights.reshape(-1).tolist()
    while True:
        groups: dict[int, list[float]] = {}
        for weight in flat:
            nearest = min(range(len(centroids)), key=lambda index: abs(weight - centroids[index]))
            groups.setdefault(nearest, []).append(weight)
        moved = [sum(groups[index]) / len(groups[index]) for index in sorted(groups)]
        if np.allclose(moved, centroids, rtol=0, atol=1e-9) and len(moved) == len(centroids):
            return moved
        centroids = moved


def test_evenly_spaced_values_settle_where_k_means_has_them() -> None:
    kernel = values()
    expected = by_hand(kernel, np.linspace(kernel.min(), kernel.max(), 8).tolist())
    assert np.unique(clustered(kernel, 8)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zeros", [False, True])
def test_each_weight_is_the_mean_of_its_group_and_the_nearest_value(kind: Any, zeros: bool) -> None:
    kernel = values(0.7 if zeros else 0.0)
    found = clustered(kernel, 16, kind, zeros)
    held = np.unique(found)
    assert 8 <= len(held) <= 16
    for value in held:
        assert kernel[found == value].mean() == pytest.approx(float(value), abs=1e-4)
    moves = kernel != 0
    distances = np.abs(kernel[moves][:, None] - held[held != 0])
    assert np.allclose(np.abs(found - kernel)[moves], distances.min(axis=1), atol=1e-5)
    if zeros:
        assert np.array_equal(found == 0, kernel == 0)


def test_kernel_without_zeros_spends_no_value_on_them() -> None:
    assert len(np.unique(clustered(values(), 4, zeros=True))) == 4
    assert 0 not in clustered(values(), 4, zeros=True)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"num_clusters": 1}, "greater than or equal to 2"),
        ({"num_clusters": 256}, "less than or equal to 255"),
        ({"initialization": "kmeans"}, "'linear', 'random', 'density' or 'kmeans++'"),
    ],
)
def test_bad_step_is_reported(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ClusterStep.model_validate({"kind": "cluster", "epochs": 1, **said})
    assert message in str(caught.value)
