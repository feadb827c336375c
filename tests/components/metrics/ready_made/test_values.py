"""Ranks of anomaly scores and distances of keypoints, compared with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import mean_squared_error, roc_auc_score
from sklearn.metrics.pairwise import paired_euclidean_distances

from components.core.errors import DataError, SpecError
from components.metrics.ready_made.values import AnomalyAUC, KeypointError


def value(metric, predictions, targets, **features):
    return metric.result(metric.add(metric.create(), {"out": predictions}, {"out": targets}, features))


@pytest.mark.parametrize("steps", [2**20, 16], ids=["float", "ties"])
@pytest.mark.parametrize("seed", range(3))
def test_auc_of_scores_equals_scikit_learn(seed, steps):
    random = np.random.default_rng(seed)
    labels = (random.random(400) < 0.1).astype(np.int64)
    scores = np.round(random.gamma(2 + labels, 3) * steps / 16) / steps
    expected = roc_auc_score(labels, scores)
    assert value(AnomalyAUC(), scores, labels) == pytest.approx(expected, abs=1e-6)
    assert value(AnomalyAUC(), scores[:, None], labels[:, None]) == pytest.approx(expected, abs=1e-6)


def test_auc_of_weighted_examples_equals_scikit_learn():
    random = np.random.default_rng(8)
    labels, weights = random.integers(2, size=400), random.integers(0, 4, size=400) / 2
    scores = np.round(random.gamma(2 + labels, 3) * 4) / 4
    metric = AnomalyAUC()
    kept = metric.add(metric.create(), {"out": scores}, {"out": labels})
    weighed = [each._replace(weight=weight) for each, weight in zip(kept, weights.tolist(), strict=True)]
    expected = roc_auc_score(labels, scores, sample_weight=weights)
    assert metric.result(weighed) == pytest.approx(expected, abs=1e-6)
    assert metric.result(kept) != pytest.approx(expected, abs=1e-3)


def test_auc_of_reconstructions_ranks_their_mean_squared_error():
    random = np.random.default_rng(5)
    original = random.normal(size=(300, 4, 4)).astype(np.float32)
    labels = random.integers(2, size=300)
    found = original + random.normal(size=original.shape) * (1 + 0.3 * labels[:, None, None])
    errors = [mean_squared_error(*each) for each in zip(original, found, strict=True)]
    expected = roc_auc_score(labels, errors)
    assert 0.6 < expected < 0.99
    assert value(AnomalyAUC("image"), found, labels, image=original) == pytest.approx(expected, abs=1e-6)
    assert value(AnomalyAUC("image"), found, labels, image=original.reshape(300, 16)) == pytest.approx(expected)
    # The target of a model that is trained to reconstruct is its input. Then a feature has the labels.
    trained = value(AnomalyAUC("image", "odd"), found, original, image=original, odd=labels[:, None])
    assert trained == pytest.approx(expected, abs=1e-6)


def test_auc_is_unknown_without_anomalies():
    assert np.isnan(value(AnomalyAUC(), np.arange(4), np.zeros(4)))
    assert np.isnan(AnomalyAUC().result([]))
    with pytest.raises(DataError, match="a label is neither"):
        value(AnomalyAUC(), np.arange(4), np.full(4, 2))
    with pytest.raises(SpecError, match=r"the output has a different number .*: 4 values; found: 12.*`reconstructs`"):
        value(AnomalyAUC(), np.zeros((4, 3)), np.zeros(4))
    with pytest.raises(SpecError, match=r"the feature 'image' has a different number .*expected: 12 values; found: 8"):
        value(AnomalyAUC("image"), np.zeros((4, 3)), np.zeros(4), image=np.zeros((4, 2)))
    with pytest.raises(SpecError, match=r"the target has a different number .*expected: 4 values; found: 8"):
        value(AnomalyAUC(), np.zeros(4), np.zeros((4, 2)))
    with pytest.raises(SpecError, match=r"the feature 'odd' has a different number .*expected: 4 values; found: 8"):
        value(AnomalyAUC(labels="odd"), np.zeros(4), np.zeros(4), odd=np.zeros((4, 2)))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_keypoint_error_is_the_mean_distance(seed, dimensions):
    random = np.random.default_rng(seed)
    found, wanted = random.normal(size=(2, 120, 7, dimensions))
    distances = paired_euclidean_distances(found.reshape(-1, dimensions), wanted.reshape(-1, dimensions))
    metric = KeypointError(dimensions)
    assert value(metric, found, wanted) == pytest.approx(distances.mean(), abs=1e-6)
    assert value(metric, found.reshape(120, -1), wanted) == pytest.approx(distances.mean(), abs=1e-6)
    visible = random.random((120, 7)) < 0.6
    visible[5] = False
    wanted[~visible] = np.nan
    masked = KeypointError(dimensions, mask="visible")
    expected = distances[visible.ravel()].mean()
    assert value(masked, found, wanted, visible=visible) == pytest.approx(expected, abs=1e-6)
    assert np.isnan(value(masked, found, wanted, visible=np.zeros((120, 7))))


def test_keypoints_of_another_number_are_refused():
    with pytest.raises(SpecError, match=r"found: outputs \[2, 8\], targets \[2, 6\]"):
        value(KeypointError(), np.zeros((2, 8)), np.zeros((2, 6)))
    with pytest.raises(SpecError, match=r"\[N, K, 3\] or \[N, K \* 3\]"):
        value(KeypointError(3), np.zeros((2, 8)), np.zeros((2, 8)))
