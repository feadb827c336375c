"""Similarity and recall of embeddings, compared with scikit-learn and with all orders of ties."""

import itertools

import numpy as np
import pytest
from sklearn.metrics.pairwise import paired_cosine_distances
from sklearn.neighbors import NearestNeighbors

from components.core.errors import SpecError
from components.metrics.ready_made.embeddings import CosineSimilarity, RecallAtK, recall_at_k, unit_vectors


def value(metric, predictions, targets):
    return metric.result(metric.add(metric.create(), {"e": predictions}, {"e": targets}))


@pytest.mark.parametrize("seed", range(4))
def test_cosine_similarity_equals_scikit_learn(seed):
    random = np.random.default_rng(seed)
    found, wanted = random.normal(size=(2, 150, 16)).astype(np.float32)
    wanted[::2] += 2 * found[::2]
    wanted[3] = 0
    expected = 1 - paired_cosine_distances(found.astype(np.float64), wanted.astype(np.float64))
    expected[3] = 0
    assert value(CosineSimilarity(), found, wanted) == pytest.approx(expected.mean(), abs=1e-6)
    assert value(CosineSimilarity(), found.reshape(50, 3, 16), wanted.reshape(50, 3, 16)) == pytest.approx(
        expected.mean(), abs=1e-6
    )
    with pytest.raises(SpecError, match=r"expected: targets \[150, 16\]; found: targets \[150, 8\]"):
        value(CosineSimilarity(), found, wanted[:, :8])


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("seed", range(3))
def test_recall_equals_scikit_learns_neighbors(seed, k):
    random = np.random.default_rng(seed)
    classes = random.integers(20, size=300)
    classes[0] = 99  # without another of its class
    vectors = random.normal(size=(20, 8))[classes % 20] + random.normal(size=(300, 8), scale=1.2)
    neighbors = NearestNeighbors(n_neighbors=k, metric="cosine").fit(vectors).kneighbors(return_distance=False)
    hit = (classes[neighbors] == classes[:, None]).any(axis=1)
    expected = hit[1:].mean()
    assert 0.2 < expected < 1
    assert value(RecallAtK(k), vectors, classes) == pytest.approx(expected, abs=1e-6)
    assert value(RecallAtK(k), (5 * vectors).astype(np.float32), classes) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("k", [1, 5])
def test_weight_of_an_example_counts_when_it_is_looked_up(k):
    random = np.random.default_rng(k)
    classes = random.integers(12, size=300)
    vectors = random.normal(size=(12, 8))[classes] + random.normal(size=(300, 8), scale=1.2)
    weights = random.integers(0, 4, size=300) / 2
    metric = RecallAtK(k)
    kept = metric.add(metric.create(), {"e": vectors}, {"e": classes})
    weighed = [each._replace(weight=weight) for each, weight in zip(kept, weights.tolist(), strict=True)]
    # Without those that do not count.
    there = weights > 0
    neighbors = NearestNeighbors(n_neighbors=k, metric="cosine").fit(vectors[there]).kneighbors(return_distance=False)
    hit = (classes[there][neighbors] == classes[there][:, None]).any(axis=1)
    expected = np.average(hit, weights=weights[there])
    assert metric.result(weighed) == pytest.approx(expected, abs=1e-6)
    assert metric.result(weighed) != pytest.approx(metric.result(kept), abs=1e-3)
    assert np.isnan(metric.result([each._replace(weight=0.0) for each in kept]))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_recall_is_the_mean_over_all_orders_of_ties(k):
    random = np.random.default_rng(k)
    for _ in range(6):
        # Few directions, so that many neighbors are equally near, but for the rounding of their lengths.
        directions = random.integers(2, size=6)
        vectors = np.array([[1, 2, 3], [3, -1, 0.5]])[directions] * random.uniform(0.1, 9, size=(6, 1))
        classes = random.integers(3, size=6)
        hits = []
        for order in itertools.permutations(range(6)):
            ranked = np.array(order)
            similar = directions[:, None] == directions
            for query in range(6):
                if (classes == classes[query]).sum() > 1:
                    others = ranked[ranked != query]
                    nearest = others[np.argsort(~similar[query, others], kind="stable")[:k]]
                    hits.append((classes[nearest] == classes[query]).any())
        if hits:
            assert recall_at_k(unit_vectors(vectors), classes, k) == pytest.approx(np.mean(hits), abs=1e-12)
        else:
            assert np.isnan(recall_at_k(unit_vectors(vectors), classes, k))


def test_recall_of_few_examples():
    assert np.isnan(RecallAtK().result([]))
    assert np.isnan(value(RecallAtK(), np.eye(3), np.arange(3)))
    assert value(RecallAtK(k=10), np.eye(3), np.array([0, 0, 1])) == 1
    with pytest.raises(SpecError, match=r"expected: targets \[3\]; found: targets \[3, 2\]"):
        value(RecallAtK(), np.eye(3), np.zeros((3, 2)))


def test_recall_does_not_depend_on_order_or_batches():
    random = np.random.default_rng(4)
    vectors, classes = random.normal(size=(1500, 4)).round(1), random.integers(5, size=1500)
    metric = RecallAtK(3)
    kept = metric.add(metric.create(), {"e": vectors[:700]}, {"e": classes[:700]})
    kept = metric.merge(metric.add(metric.create(), {"e": vectors[700:]}, {"e": classes[700:]}), kept)
    assert metric.result(kept) == pytest.approx(value(metric, vectors, classes), abs=1e-12)
