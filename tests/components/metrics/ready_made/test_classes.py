"""Accuracy of steps and mean IoU, compared with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from components.core.errors import DataError, SpecError
from components.metrics.ready_made.classes import F1, MeanIoU, Precision, Recall, StepAccuracy


def value(metric, predictions, targets, **features):
    return metric.result(metric.add(metric.create(), {"out": predictions}, {"out": targets}, features))


@pytest.mark.parametrize("seed", range(4))
def test_step_accuracy_equals_scikit_learn_on_what_is_not_masked(seed):
    random = np.random.default_rng(seed)
    scores, targets = random.random((100, 9, 5)), random.integers(5, size=(100, 9))
    mask = np.arange(9) < random.integers(0, 10, size=(100, 1))
    expected = accuracy_score(targets[mask], scores.argmax(-1)[mask])
    by_target = np.where(mask, targets, -1)
    assert (~mask).all(axis=1).any()
    assert value(StepAccuracy(), scores, by_target) == pytest.approx(expected, abs=1e-12)
    assert value(StepAccuracy(mask="valid"), scores, targets, valid=mask.astype(np.int64)) == pytest.approx(expected)
    assert value(StepAccuracy(ignore=7), scores, np.where(mask, targets, 7)[..., None]) == pytest.approx(expected)
    assert value(StepAccuracy(classes=5), scores.argmax(-1), by_target) == pytest.approx(expected)
    # The mean of the sequences' accuracies is a different number.
    shares = [accuracy_score(t[m], s.argmax(-1)[m]) for t, s, m in zip(targets, scores, mask, strict=True) if m.any()]
    assert np.mean(shares) != pytest.approx(expected, abs=1e-4)


def test_accuracy_of_masked_steps_alone_is_unknown():
    scores, targets = np.zeros((2, 3, 4)), np.full((2, 3), -1)
    assert np.isnan(value(StepAccuracy(), scores, targets))
    assert np.isnan(value(MeanIoU(ignore=-1), scores, targets))
    assert np.isnan(MeanIoU().result(MeanIoU().create()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [2, 6])
def test_mean_iou_equals_scikit_learn(seed, classes):
    random = np.random.default_rng(seed)
    targets = random.choice(classes, size=(100, 7, 6), p=random.dirichlet(np.ones(classes)))
    scores = random.random((100, 7, 6, classes)) + 0.5 * np.eye(classes)[targets]
    found = scores.argmax(-1)
    expected = jaccard_score(targets.ravel(), found.ravel(), average="macro")
    assert value(MeanIoU(), scores, targets) == pytest.approx(expected, abs=1e-6)
    assert value(MeanIoU(), scores.astype(np.float32), targets[..., None]) == pytest.approx(expected, abs=1e-6)
    assert value(MeanIoU(classes=classes), found, targets) == pytest.approx(expected, abs=1e-6)
    left = random.random(targets.shape) < 0.7
    expected = jaccard_score(targets[left], found[left], average="macro")
    assert value(MeanIoU(ignore=255), scores, np.where(left, targets, 255)) == pytest.approx(expected, abs=1e-6)
    assert value(MeanIoU(mask="left"), scores, targets, left=left) == pytest.approx(expected, abs=1e-6)


OF_ONE_CLASS = [(Precision, precision_score), (Recall, recall_score), (F1, f1_score)]


@pytest.mark.parametrize(("kind", "score"), OF_ONE_CLASS)
def test_counts_of_one_class_equal_scikit_learn(kind, score):
    random = np.random.default_rng(3)
    scores, targets = random.random((300, 4)), random.integers(4, size=300)
    found = scores.argmax(-1)
    for each in range(4):
        expected = score(targets == each, found == each)
        assert value(kind(class_id=each), scores, targets) == pytest.approx(expected, abs=1e-12)
        assert value(kind(class_id=each, classes=4), found, targets[:, None]) == pytest.approx(expected, abs=1e-12)
    steps, wanted, valid = random.random((60, 5, 3)), random.integers(3, size=(60, 5)), random.random((60, 5)) < 0.7
    expected = score(wanted[valid] == 2, steps.argmax(-1)[valid] == 2)
    assert value(kind(2, mask="valid"), steps, wanted, valid=valid) == pytest.approx(expected, abs=1e-12)
    assert value(kind(2), steps, np.where(valid, wanted, -1)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("kind", "score"), OF_ONE_CLASS)
def test_one_score_for_each_target_takes_a_threshold(kind, score):
    random = np.random.default_rng(4)
    scores, targets = random.normal(size=(200, 1)), random.integers(2, size=200)
    assert value(kind(), scores, targets) == pytest.approx(score(targets, scores[:, 0] > 0.5), abs=1e-12)
    assert value(kind(threshold=0.0), scores, targets) == pytest.approx(score(targets, scores[:, 0] > 0), abs=1e-12)
    others = score(targets == 0, scores[:, 0] <= 0)
    assert value(kind(class_id=0, threshold=0.0), scores, targets) == pytest.approx(others, abs=1e-12)


def test_precision_without_a_prediction_of_the_class_is_unknown_and_a_class_that_does_not_exist_is_refused():
    scores, targets = np.eye(3)[[0, 1]], np.array([0, 1])
    assert np.isnan(value(Precision(class_id=2), scores, targets))
    with pytest.raises(SpecError, match=r"there is no such class \(expected: class_id from 0 to 2; found: 3\)"):
        value(Precision(class_id=3), scores, targets)


def test_mean_iou_of_one_output_takes_a_threshold_of_one_half():
    random = np.random.default_rng(1)
    scores, targets = random.random((20, 8, 8, 1)), random.integers(2, size=(20, 8, 8))
    expected = jaccard_score(targets.ravel(), scores.ravel() > 0.5, average="macro")
    assert value(MeanIoU(), scores, targets) == pytest.approx(expected, abs=1e-12)


def test_class_without_pixels_does_not_count():
    targets = np.array([[[0, 0], [0, 3]]])
    assert value(MeanIoU(classes=9), np.array([[[0, 0], [3, 3]]]), targets) == pytest.approx((2 / 3 + 1 / 2) / 2)
    # A class that is only predicted counts with 0.
    assert value(MeanIoU(classes=9), np.array([[[0, 0], [8, 3]]]), targets) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_sums_of_batches_are_those_of_all():
    random = np.random.default_rng(5)
    scores, targets = random.random((30, 4, 4, 3)), random.integers(3, size=(30, 4, 4))
    metric = MeanIoU()
    parts = [metric.add(metric.create(), {"o": scores[i : i + 7]}, {"o": targets[i : i + 7]}) for i in range(0, 30, 7)]
    merged = metric.create()
    for part in parts:
        merged = metric.merge(merged, part)
    assert metric.result(merged) == value(metric, scores, targets)
    rows = metric.examples({"o": scores}, {"o": targets}, {})
    assert len(rows) == 30
    assert metric.result(sum(rows[1:], rows[0])) == value(metric, scores, targets)


@pytest.mark.parametrize(
    ("predictions", "targets", "error", "message"),
    [
        (np.zeros((2, 3, 4)), np.zeros((2, 5)), SpecError, r"found: outputs \[2, 3, 4\], targets \[2, 5\]"),
        (np.zeros((2, 3, 4)), np.full((2, 3), 4), DataError, r"expected: 0 to 3; found: 4 and 5 more of 6"),
        (np.full((2, 3, 4), np.nan), np.zeros((2, 3)), DataError, "24 of 24 predictions are NaN"),
        (np.zeros((2, 3), int), np.zeros((2, 3)), SpecError, r"Remedy: write `config: {classes: 5}`"),
    ],
)
def test_wrong_shapes_and_classes_are_refused(predictions, targets, error, message):
    for metric in (StepAccuracy(), MeanIoU()):
        with pytest.raises(error, match=message):
            value(metric, predictions, targets)


def test_wrong_masks_outputs_and_class_indexes_are_refused():
    scores, targets = np.zeros((2, 3, 4)), np.zeros((2, 3))
    with pytest.raises(SpecError, match=r"there is no feature 'valid' .*Remedy: write 'valids'"):
        value(StepAccuracy(mask="valid"), scores, targets, valids=np.ones((2, 3)))
    with pytest.raises(DataError, match=r"the mask 'valid' .*expected: \[2, 3\]; found: \[2\]"):
        value(StepAccuracy(mask="valid"), scores, targets, valid=np.ones(2))
    with pytest.raises(SpecError, match=r"there are 2 outputs \(expected: one output; found: a, b\)"):
        StepAccuracy().sums({"a": scores, "b": scores}, {"a": targets}, {})
    with pytest.raises(DataError, match=r"a predicted class index .*expected: 0 to 1; found: 2 and 5 more of 6"):
        value(StepAccuracy(classes=2), np.full((2, 3), 2), targets)
