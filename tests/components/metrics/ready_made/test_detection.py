"""COCO's mAP, compared with pycocotools."""

import contextlib
import io

import numpy as np
import pytest

from components.core.errors import DataError, SpecError
from components.metrics.ready_made.detection import COCO_IOUS, MeanAveragePrecision, match, overlaps


def images(seed, count, classes=3, ties=False):
    """Objects, and detections near them with some noise, as (boxes, scores, classes, actual boxes, actual classes)."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        objects = random.integers(0, 7)
        low = random.integers(0, 60, size=(objects, 2))
        actual = np.concatenate([low, low + random.integers(4, 40, size=(objects, 2))], axis=1)
        kinds = random.integers(0, classes, size=objects)
        copies = random.integers(0, 4, size=objects)
        boxes = np.repeat(actual, copies, axis=0)
        boxes = boxes + random.integers(-2, 3, size=boxes.shape)
        noise = random.integers(0, 4)
        low = random.integers(0, 60, size=(noise, 2))
        boxes = np.concatenate([boxes, np.concatenate([low, low + random.integers(4, 40, size=(noise, 2))], axis=1)])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
        found = np.concatenate([np.repeat(kinds, copies), random.integers(0, classes, size=noise)])
        wrong = random.random(len(found)) < 0.1
        found[wrong] = random.integers(0, classes, size=wrong.sum())
        good = np.arange(len(found)) < copies.sum()
        scores = random.beta(2 + 2 * good, 4 - 2 * good)
        scores = np.ceil(8 * scores) / 8 if ties else scores
        made.append((boxes.astype(float), scores, found, actual.astype(float), kinds))
    return made


def by_coco(made, most=100):
    """(mAP@0.5, mAP@[.5:.95]) by pycocotools, which numbers images as given."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def of(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    truth, found = [], []
    for number, (boxes, scores, kinds, actual, objects) in enumerate(made, 1):
        for box, kind in zip(actual, objects, strict=True):
            shape = {"bbox": of(box), "area": (box[2] - box[0]) * (box[3] - box[1]), "iscrowd": 0}
            truth.append({"id": len(truth) + 1, "image_id": number, "category_id": int(kind), **shape})
        for box, score, kind in zip(boxes, scores, kinds, strict=True):
            found.append({"image_id": number, "category_id": int(kind), "bbox": of(box), "score": float(score)})
    coco = COCO()
    categories = {each["category_id"] for each in truth}
    coco.dataset = {
        "images": [{"id": number} for number in range(1, len(made) + 1)],
        "annotations": truth,
        "categories": [{"id": each} for each in sorted(categories)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        # Detections of categories without objects don't count in COCO.
        evaluation = COCOeval(coco, coco.loadRes([each for each in found if each["category_id"] in categories]), "bbox")
        evaluation.params.maxDets = [most]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    known = precision[precision > -1]
    first = precision[0][precision[0] > -1]
    return first.mean(), known.mean()


def padded(made):
    """The images as outputs and targets, filled up with zeros and -1."""
    most, objects = (max(len(each[number]) for each in made) for number in (1, 4))
    shape = {"boxes": ((most, 4), 0.0), "scores": ((most,), 0.0), "classes": ((most,), 0.0)}
    predictions = {name: np.full((len(made), *size), fill, np.float64) for name, (size, fill) in shape.items()}
    targets = {"boxes": np.zeros((len(made), objects, 4)), "classes": np.full((len(made), objects), -1)}
    for number, (boxes, scores, kinds, actual, there) in enumerate(made):
        for name, values in zip(shape, (boxes, scores, kinds), strict=True):
            predictions[name][number, : len(values)] = values
        targets["boxes"][number, : len(actual)], targets["classes"][number, : len(there)] = actual, there
    return predictions, targets


def value(made, **config):
    metric = MeanAveragePrecision(**config)
    return metric.result(metric.add(metric.create(), *padded(made)))


@pytest.mark.parametrize("seed", range(8))
def test_map_equals_pycocotools_on_random_images(seed):
    made = images(seed, 40)
    half, all_ious = by_coco(made)
    assert 0.2 < all_ious < half < 0.95
    assert value(made, ious=[0.5]) == pytest.approx(half, abs=1e-6)
    assert value(made) == pytest.approx(all_ious, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_map_equals_pycocotools_when_scores_tie(seed):
    made = images(100 + seed, 40, ties=True)
    metric = MeanAveragePrecision()
    kept = metric.add(metric.create(), *padded(made))
    # Of equal scores in different images, pycocotools takes the image with the lower number first.
    order = sorted(range(len(made)), key=lambda number: kept[number].digest)
    half, all_ious = by_coco([made[number] for number in order])
    assert metric.result(kept) == pytest.approx(all_ious, abs=1e-6)
    assert value(made, ious=[0.5]) == pytest.approx(half, abs=1e-6)
    # The ties matter, but not the order of the examples.
    assert by_coco(made)[1] != pytest.approx(all_ious, abs=1e-6)
    assert metric.result(kept[::-1]) == metric.result(kept)


def test_only_the_best_detections_of_an_image_and_class_count():
    made = images(7, 30, classes=1)
    few = by_coco(made, most=3)[1]
    assert few != pytest.approx(by_coco(made)[1], abs=1e-3)
    assert value(made, max_detections=3) == pytest.approx(few, abs=1e-6)


def test_images_without_objects_or_detections_count_like_in_pycocotools():
    made = images(11, 12)
    nothing, boxes = np.zeros((0, 4)), np.array([[0, 0, 10, 10]] * 2)
    false_alarms = (boxes, np.array([0.99, 0.98]), np.zeros(2, int), nothing, np.zeros(0, int))
    missed = (nothing, np.zeros(0), np.zeros(0, int), boxes, np.ones(2, int))
    unknown_class = (boxes, np.array([0.5, 0.6]), np.full(2, 9), nothing, np.zeros(0, int))
    empty = (nothing, np.zeros(0), np.zeros(0, int), nothing, np.zeros(0, int))
    before = value(made)
    assert value([*made, empty]) == pytest.approx(before, abs=1e-12)
    assert value([*made, unknown_class]) == pytest.approx(before, abs=1e-12)
    both = [*made, false_alarms, missed, empty, unknown_class]
    assert value(both) == pytest.approx(by_coco(both)[1], abs=1e-6)
    assert value(both) < before - 0.01
    assert value([missed]) == 0
    assert np.isnan(value([false_alarms, empty]))
    assert np.isnan(MeanAveragePrecision().result([]))


def test_batches_and_merging_do_not_change_the_result():
    made = images(3, 20)
    metric = MeanAveragePrecision()
    predictions, targets = padded(made)
    one = metric.create()
    parts = []
    for start in range(0, 20, 6):
        rows = slice(start, start + 6)
        batch = [{name: each[rows] for name, each in named.items()} for named in (predictions, targets)]
        one = metric.add(one, *batch)
        parts.append(metric.add(metric.create(), *batch))
    merged = metric.create()
    for part in reversed(parts):
        merged = metric.merge(merged, part)
    assert metric.result(one) == metric.result(merged) == value(made)
    assert len(parts[0]) == 6


@pytest.mark.parametrize("seed", range(3))
def test_weight_of_an_image_counts_it_that_many_times(seed):
    made = images(200 + seed, 60)
    times = np.random.default_rng(seed).integers(0, 4, size=len(made))
    repeated = [each for each, count in zip(made, times, strict=True) for _ in range(count)]
    metric = MeanAveragePrecision()
    kept = metric.add(metric.create(), *padded(made))
    # Fractions whose sums are rounded.
    weighed = [image._replace(weight=count / 10) for image, count in zip(kept, times.tolist(), strict=True)]
    expected = by_coco(repeated)[1]
    assert metric.result(weighed) == pytest.approx(expected, abs=1e-6)
    assert metric.result(weighed) != pytest.approx(by_coco(made)[1], abs=1e-4)
    found_all = [kept[0]._replace(objects=np.zeros(1, int), classes=np.zeros(1, int), scores=np.ones(1), weight=weight,
                                  matched=np.ones((10, 1), bool)) for weight in (0.1, 0.2, 0.3)]  # fmt: skip
    assert metric.result(found_all) == 1


def test_one_output_with_everything_is_the_same():
    made = images(5, 20)
    predictions, targets = padded(made)
    packed = np.concatenate([predictions["boxes"], np.stack([predictions["scores"], predictions["classes"]], -1)], -1)
    wanted = np.concatenate([targets["boxes"], targets["classes"][..., None]], axis=-1)
    metric = MeanAveragePrecision()
    assert metric.result(metric.add(metric.create(), {"found": packed}, {"found": wanted})) == value(made)
    renamed = {"b": predictions["boxes"], "s": predictions["scores"], "c": predictions["classes"]}
    metric = MeanAveragePrecision(boxes="b", scores="s", classes="c")
    kept = metric.add(metric.create(), renamed, {"b": targets["boxes"], "c": targets["classes"]})
    assert metric.result(kept) == value(made)


def test_each_object_is_found_once_by_its_best_detection():
    ious = overlaps(np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]), np.array([[0.0, 0, 10, 10]]))
    np.testing.assert_allclose(ious, [[1], [0.9], [0]])
    np.testing.assert_array_equal(match(ious, np.array([0.5, 1.0])), [[True, False, False], [True, False, False]])
    np.testing.assert_array_equal(match(ious[1:], np.array([0.5, 0.95])), [[True, False], [False, False]])
    assert overlaps(np.zeros((1, 4)), np.zeros((1, 4))) == 0
    assert len(COCO_IOUS) == 10


def test_last_of_equally_near_objects_is_taken_like_in_pycocotools():
    actual = np.array([[0.0, 0, 10, 10], [4, 0, 14, 10]])
    boxes = np.array([[2.0, 0, 12, 10], [4, 0, 14, 10]])
    made = [(boxes, np.array([0.9, 0.8]), np.zeros(2, int), actual, np.zeros(2, int))]
    assert value(made, ious=[0.5]) == pytest.approx(by_coco(made)[0], abs=1e-12)
    assert value(made, ious=[0.5]) < 0.6


def test_wrong_outputs_are_refused_with_shapes_and_names():
    predictions, targets = padded(images(1, 4))
    metric = MeanAveragePrecision()
    with pytest.raises(SpecError, match=r"no output 'classes' \(expected: one of boxes, scores; found: classes\)"):
        metric.examples({name: predictions[name] for name in ("boxes", "scores")}, targets, {})
    with pytest.raises(SpecError, match=r"there is no output 'scores' .* Remedy: write 'score'"):
        renamed = {"score" if name == "scores" else name: each for name, each in predictions.items()}
        metric.examples(renamed, targets, {})
    with pytest.raises(SpecError, match=r"expected: boxes \[N, D, 4\]; scores and classes \[N, D\].*scores \[4, 2\]"):
        metric.examples({**predictions, "scores": predictions["scores"][:, :2]}, targets, {})
    with pytest.raises(SpecError, match=r"expected: \[N, boxes, 6\] .*found: \[4, 3\]"):
        metric.examples({"only": np.zeros((4, 3))}, targets, {})
    with pytest.raises(DataError, match="a predicted box or score is NaN"):
        metric.examples({**predictions, "scores": np.full_like(predictions["scores"], np.nan)}, targets, {})
