"""The mean average precision of detected boxes, as COCO defines it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, SpecError
from components.metrics.accumulator import Arrays, KeptExamples
from components.metrics.ready_made.read import named_array, only

Array = npt.NDArray[Any]

# The IoUs and the recalls that COCO averages over.
COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
_RECALLS = np.linspace(0, 1, 101)
_PACKED_OUTPUT, _PACKED_TARGET = 6, 5
# With one or two objects in an image, so many confident false detections of a class in one image change the metric by
# up to ten times the image's share of the images.
_DETECTIONS_OF_TEN_SHARES = 8


class Image(NamedTuple):
    """The counted part of one image.

    Attributes:
        digest: Digest of its boxes, scores, and classes. It orders images, regardless of the order of the examples.
        classes, scores: Classes and scores of its detections, [D], by descending score.
        matched: Whether each detection matches an object at each IoU, [IoUs, D].
        objects: Classes of the actual objects, [G].
        weight: How often the image counts.
    """

    digest: bytes
    classes: Array
    scores: Array
    matched: Array
    objects: Array
    weight: float = 1.0


class MeanAveragePrecision(KeptExamples):
    """COCO's mAP: the mean over classes and IoUs of the precision at 101 recalls (Lin et al. 2014, arXiv:1405.0312).

    The same as pycocotools for objects of every size, without crowds. Detections with equal scores are ranked within
    an image in their order, and between images by a digest of their contents, so the order of the examples has no
    influence. The weight of an image multiplies its objects and its detections, as if it occurred that many times.

    Predictions are three outputs: boxes [N, D, 4], scores [N, D], and classes [N, D]; or one output [N, D, 6], with the
    score and the class after the box. Detections with a score of 0 or less are padding. Targets are boxes [N, G, 4] and
    classes [N, G], or [N, G, 5] with the class after the box. Objects with a negative class are padding. A box is
    (y_min, x_min, y_max, x_max) or (x_min, y_min, x_max, y_max), in any unit, the same for both.

    Args:
        ious: The minimum IoUs of a detection with its object.
        boxes, scores, classes: Names of the outputs, and of the targets `boxes` and `classes`.
        max_detections: The number of detections that count per image and class: those with the highest scores.
    """

    def __init__(
        self,
        ious: Sequence[float] = COCO_IOUS,
        boxes: str = "boxes",
        scores: str = "scores",
        classes: str = "classes",
        max_detections: int = 100,
    ) -> None:
        self._ious = np.array(ious, np.float64)
        self._boxes, self._scores, self._classes, self._most = boxes, scores, classes, max_detections
        self.influence = max(1.0, max_detections / _DETECTIONS_OF_TEN_SHARES)

    def examples(self, predictions: Arrays, targets: Arrays, features: Arrays) -> list[Any]:
        """Match the detections of each image with its objects."""
        del features
        boxes, scores, classes = self._detections(predictions)
        actual, objects = self._objects(targets)
        if np.isnan(boxes).any() or np.isnan(scores).any():
            raise DataError(
                "a predicted box or score is NaN",
                where="the model's output",
                remedy="find the layer in which the model computes NaN",
            )
        return [
            [self._image(*(each[number] for each in (boxes, scores, classes, actual, objects)))]
            for number in range(len(boxes))
        ]

    def result(self, accumulator: list[Image]) -> float:
        """Return the mAP, 0 to 1; NaN if there are no objects."""
        images = sorted((image for image in accumulator if image.weight), key=lambda image: image.digest)
        objects = np.concatenate([image.objects for image in images] or [np.zeros(0, np.int64)])
        if not objects.size:
            return float("nan")
        classes = np.concatenate([image.classes for image in images])
        scores = np.concatenate([image.scores for image in images])
        matched = np.concatenate([image.matched for image in images], axis=1)
        weights = [image.weight for image in images]
        counted = np.repeat(weights, [len(image.scores) for image in images])
        order = np.argsort(-scores, kind="stable")
        classes, matched, counted = classes[order], matched[:, order], counted[order]
        kinds, places = np.unique(objects, return_inverse=True)
        numbers = np.bincount(places, np.repeat(weights, [len(image.objects) for image in images]))
        areas = [
            average_precisions(matched[:, classes == kind], number, counted[classes == kind])
            for kind, number in zip(kinds, numbers.tolist(), strict=True)
        ]
        return float(np.mean(areas))

    def _detections(self, predictions: Arrays) -> tuple[Array, Array, Array]:
        """Boxes float64 [N, D, 4], scores float64 [N, D], classes int64 [N, D]."""
        if len(predictions) == 1:
            packed = _packed(only(predictions, "output"), _PACKED_OUTPUT, "outputs", "boxes, score, class")
            return packed[..., :4], packed[..., 4], np.rint(packed[..., 5]).astype(np.int64)
        boxes, scores, classes = (
            named_array(predictions, name, "output") for name in (self._boxes, self._scores, self._classes)
        )
        _check_shapes(boxes, "outputs", scores=scores, classes=classes)
        return boxes.astype(np.float64), scores.astype(np.float64), np.rint(classes).astype(np.int64)

    def _objects(self, targets: Arrays) -> tuple[Array, Array]:
        """Boxes float64 [N, G, 4], classes int64 [N, G]."""
        if len(targets) == 1:
            packed = _packed(only(targets, "target"), _PACKED_TARGET, "targets", "boxes, class")
            return packed[..., :4], np.rint(packed[..., 4]).astype(np.int64)
        boxes, classes = (named_array(targets, name, "target") for name in (self._boxes, self._classes))
        _check_shapes(boxes, "targets", classes=classes)
        return boxes.astype(np.float64), np.rint(classes).astype(np.int64)

    def _image(self, boxes: Array, scores: Array, classes: Array, actual: Array, objects: Array) -> Image:
        there, detected = objects >= 0, scores > 0
        actual, objects = actual[there], objects[there]
        boxes, scores, classes = boxes[detected], scores[detected], classes[detected]
        order = np.argsort(-scores, kind="stable")
        boxes, scores, classes = boxes[order], scores[order], classes[order]
        counts = _rank_within_class(classes) < self._most
        boxes, scores, classes = boxes[counts], scores[counts], classes[counts]
        matched = np.zeros((len(self._ious), len(scores)), bool)
        for kind in np.intersect1d(classes, objects):
            of_kind = classes == kind
            matched[:, of_kind] = match(overlaps(boxes[of_kind], actual[objects == kind]), self._ious)
        digest = hashlib.blake2b(digest_size=8)
        for values in (boxes, scores, classes, actual, objects):
            digest.update(np.ascontiguousarray(values).tobytes() + b"|")
        return Image(digest.digest(), classes, scores, matched, objects)


def overlaps(boxes: Array, others: Array) -> Array:
    """Intersection divided by union (IoU) of all pairs of boxes.

    Args:
        boxes, others: float64 [D, 4] and [G, 4], the two lower coordinates before the two upper ones.

    Returns:
        float64 [D, G]; 0 if the union has no area.
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=-1)
    areas, other_areas = (np.clip(each[:, 2:] - each[:, :2], 0, None).prod(axis=-1) for each in (boxes, others))
    union = areas[:, None] + other_areas - both
    return np.divide(both, union, out=np.zeros_like(both), where=both > 0)


def match(ious: Array, thresholds: Array) -> Array:
    """Give each detection, in order, the unmatched object with which it has the highest IoU, if that is high enough.

    Args:
        ious: IoUs of the detections, by descending score, with the objects, [D, G].
        thresholds: The minimum IoUs, [T].

    Returns:
        Whether each detection has an object at each threshold, bool [T, D].
    """
    detections, objects = ious.shape
    matched = np.zeros((len(thresholds), detections), bool)
    free = np.ones((len(thresholds), objects), bool)
    rows = np.arange(len(thresholds))
    # pycocotools accepts an IoU of 1 at a threshold of 1 despite rounding.
    least = np.minimum(thresholds, 1 - 1e-10)
    for number in np.flatnonzero((ious >= least.min(initial=1)).any(axis=1)):
        values = np.where(free, ious[number], -1.0)
        # Among equal IoUs, pycocotools takes the last.
        chosen = objects - 1 - np.argmax(values[:, ::-1], axis=1)
        matched[:, number] = enough = values[rows, chosen] >= least
        free[rows[enough], chosen[enough]] = False
    return matched


def average_precisions(matched: Array, objects: float, weights: Array) -> Array:
    """The mean precision at COCO's 101 recalls, for each threshold.

    Args:
        matched: Whether each detection of a class has an object, by descending score, bool [T, D].
        objects: Number of objects of the class, weighted by how often each counts; more than 0.
        weights: How often each detection counts, [D], more than 0.

    Returns:
        float64 [T].
    """
    found = np.cumsum(matched * weights, axis=1)
    precisions = found / np.cumsum(weights)
    # The greatest precision at this or any higher recall; 0 if the recall isn't reached.
    best = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
    # Without rounding, a sum of weights can miss the recall 1.
    at = [np.searchsorted(np.round(row / objects, 12), _RECALLS, side="left") for row in found]
    return np.array([row[places].mean() for row, places in zip(best, at, strict=True)])


def _rank_within_class(classes: Array) -> Array:
    """How many earlier detections have the same class, [D]."""
    rank = np.zeros(len(classes), np.int64)
    for kind in np.unique(classes):
        of_kind = classes == kind
        rank[of_kind] = np.arange(of_kind.sum())
    return rank


def _packed(values: Array, width: int, what: str, order: str) -> Array:
    if values.ndim != 3 or values.shape[-1] != width:
        raise SpecError(
            f"the {what} do not have the shape of detections",
            where="evaluate.metrics",
            bound=f"[N, boxes, {width}] ({order}), or several {what}",
            measured=list(values.shape),
            remedy="return boxes, scores, and classes from postprocess(), and boxes and classes from targets()",
        )
    return values.astype(np.float64)


def _check_shapes(boxes: Array, what: str, **others: Array) -> None:
    shapes = {"boxes": boxes.shape, **{name: each.shape for name, each in others.items()}}
    if boxes.ndim != 3 or boxes.shape[-1] != 4 or any(each.shape != boxes.shape[:2] for each in others.values()):
        raise SpecError(
            f"the {what} do not have the shape of detections",
            where="evaluate.metrics",
            bound=f"boxes [N, D, 4]; {' and '.join(others)} [N, D]",
            measured=", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()),
            remedy="correct what the task's postprocess() and targets() return",
        )
