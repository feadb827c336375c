"""A detector of garments in 64x64 grayscale scenes: a score for each kind and a box for each of 128 anchors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

SIDE, MOST, KINDS = 64, 4, 5
STRIDE = 8
# Sides of the square anchors that are centered in each cell of 8x8 pixels.
ANCHOR_SIDES = (16.0, 26.0)
# Offsets are divided by these, so that their magnitude is about 1 (Liu et al. 2016, arXiv:1512.02325, section 2.2).
_VARIANCES = (0.1, 0.1, 0.2, 0.2)
# An anchor learns a garment if its IoU with it is at least the first value. Below the second value, it learns that
# nothing is there.
_POSITIVE, _NEGATIVE = 0.5, 0.4
_SUPPRESSED_ABOVE, _LEAST_SCORE, _DETECTIONS = 0.5, 0.05, 20


def anchors() -> npt.NDArray[np.float32]:
    """Center and size of the anchors, (y, x, height, width) in pixels: float32 [128, 4]."""
    centers = np.arange(STRIDE / 2, SIDE, STRIDE)
    return np.array([(y, x, side, side) for y in centers for x in centers for side in ANCHOR_SIDES], np.float32)


class Detector:
    """Decodes scenes, gives each anchor its target, and turns the outputs for anchors into boxes."""

    def feature_spec(self) -> Mapping[str, Any]:
        """Declare grayscale bytes, row by row; boxes (top, left, bottom, right in pixels) and kinds of the garments."""
        number = tf.io.FixedLenFeature([], tf.int64)
        several = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
        return {"image": tf.io.FixedLenFeature([], tf.string), "boxes": several, "kinds": several, "garments": number}

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Decode scenes to float32 [batch, 64, 64, 1] from 0 to 1."""
        gray = tf.io.decode_raw(features["image"], tf.uint8, fixed_length=SIDE * SIDE)
        return tf.reshape(tf.cast(gray, tf.float32) / 255.0, [-1, SIDE, SIDE, 1])

    def targets(self, features: Mapping[str, Any]) -> Mapping[str, tf.Tensor]:
        """Compute boxes and kinds of the garments for the metric, padded to 4, and of the anchors for the losses.

        Returns:
            `boxes` [batch, 4, 4]; `classes` [batch, 4], -1 for padding; `scores` [batch, 128, 6], a 1 for the kind, and
            whether the anchor counts; `offsets` [batch, 128, 5], and whether the anchor has a garment.
        """
        classes = features["kinds"].to_tensor(-1, shape=[None, MOST])
        boxes = tf.reshape(tf.cast(features["boxes"].to_tensor(0, shape=[None, 4 * MOST]), tf.float32), [-1, MOST, 4])
        centers = (boxes[..., :2] + boxes[..., 2:]) / 2
        sizes = boxes[..., 2:] - boxes[..., :2]
        overlap = _overlaps(boxes)
        best = tf.argmax(overlap, axis=1)
        # The anchor nearest to a garment learns it, no matter how small the overlap is.
        nearest = (
            tf.one_hot(tf.argmax(overlap, axis=2), len(anchors()), axis=-1)
            * tf.cast(classes >= 0, tf.float32)[..., None]
        )
        claimed = tf.reduce_max(nearest, axis=1) > 0
        best = tf.where(claimed, tf.argmax(nearest, axis=1), best)
        highest = tf.reduce_max(overlap, axis=1)
        positive = claimed | (highest >= _POSITIVE)
        counts = tf.cast(positive | (highest < _NEGATIVE), tf.float32)
        found = tf.cast(positive, tf.float32)[..., None]
        kinds = tf.one_hot(tf.gather(classes, best, batch_dims=1), KINDS) * found
        prior = tf.constant(anchors())
        shift = (tf.gather(centers, best, batch_dims=1) - prior[:, :2]) / prior[:, 2:]
        growth = tf.math.log(tf.maximum(tf.gather(sizes, best, batch_dims=1), 1.0) / prior[:, 2:])
        offsets = tf.concat([shift, growth], axis=-1) / tf.constant(_VARIANCES)
        return {
            "boxes": boxes,
            "classes": classes,
            "scores": tf.concat([kinds, counts[..., None]], axis=-1),
            "offsets": tf.concat([offsets * found, found], axis=-1),
        }

    def build_model(self) -> tf.keras.Model:
        """Build a convolutional network with two heads over 8x8 cells, about 52,000 weights."""
        layers = tf.keras.layers
        image = layers.Input([SIDE, SIDE, 1], name="image")
        x = _convolution(image, filters=12, strides=2)
        x = _convolution(x, filters=24, strides=2)
        x = _convolution(x, filters=32, strides=1)
        x = _convolution(x, filters=48, strides=2)
        x = _convolution(x, filters=48, strides=1)
        each = len(ANCHOR_SIDES)
        scores = layers.Conv2D(each * KINDS, 3, padding="same", bias_initializer=tf.keras.initializers.Constant(-3.0))(
            x
        )
        scores = layers.Activation("sigmoid", name="scores")(layers.Reshape([-1, KINDS])(scores))
        offsets = layers.Reshape([-1, 4], name="offsets")(layers.Conv2D(each * 4, 3, padding="same")(x))
        return tf.keras.Model(image, [scores, offsets])

    def compile(self, model: tf.keras.Model) -> None:
        """Compile with Adam, focal loss for the scores, and Huber loss for the boxes of garments."""
        rate = tf.keras.optimizers.schedules.CosineDecay(4e-3, decay_steps=20 * 32)
        model.compile(tf.keras.optimizers.Adam(rate), {"scores": _focal_loss, "offsets": _box_loss})

    def postprocess(self, outputs: dict[str, npt.NDArray[Any]]) -> Mapping[str, Any]:
        """Decode boxes, and suppress boxes that overlap a box of the same kind with a higher score.

        Returns:
            `boxes` [N, 20, 4] in pixels, `scores` [N, 20] in descending order, 0 for padding, and `classes` [N, 20].
        """
        prior = anchors()
        offsets = outputs["offsets"] * np.array(_VARIANCES, np.float32)
        centers = offsets[..., :2] * prior[:, 2:] + prior[:, :2]
        half = np.exp(np.clip(offsets[..., 2:], -4, 4)) * prior[:, 2:] / 2
        boxes = np.clip(np.concatenate([centers - half, centers + half], axis=-1), 0, SIDE)
        kept = [_suppressed(*scene) for scene in zip(boxes, outputs["scores"], strict=True)]
        parts = [np.stack(part) for part in zip(*kept, strict=True)]
        return dict(zip(("boxes", "scores", "classes"), parts, strict=True))


def _convolution(x: tf.Tensor, filters: int, strides: int) -> tf.Tensor:
    layers = tf.keras.layers
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def _overlaps(boxes: tf.Tensor) -> tf.Tensor:
    """IoUs of boxes [batch, G, 4] with the anchors, [batch, G, 128]."""
    prior = tf.constant(anchors())
    low, high = prior[:, :2] - prior[:, 2:] / 2, prior[:, :2] + prior[:, 2:] / 2
    shared = tf.minimum(boxes[:, :, None, 2:], high) - tf.maximum(boxes[:, :, None, :2], low)
    both = tf.reduce_prod(tf.maximum(shared, 0.0), axis=-1)
    area = tf.reduce_prod(boxes[..., 2:] - boxes[..., :2], axis=-1)[..., None]
    return both / (area + tf.reduce_prod(prior[:, 2:], axis=-1) - both)


def _focal_loss(target: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Focal loss with gamma 2 (Lin et al. 2017, arXiv:1708.02002), of anchors that count, per garment."""
    kinds, counts = target[..., :-1], target[..., -1:]
    right = tf.where(kinds > 0, scores, 1.0 - scores)
    each = -0.5 * (1.0 - right) ** 2 * tf.math.log(tf.maximum(right, 1e-6))
    return tf.reduce_sum(each * counts, axis=[1, 2]) / tf.maximum(tf.reduce_sum(kinds, axis=[1, 2]), 1.0)


def _box_loss(target: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Huber loss of the anchors that have a garment, per garment."""
    error, found = tf.abs(target[..., :-1] - offsets), target[..., -1]
    each = tf.reduce_sum(tf.where(error < 1.0, error**2 / 2, error - 0.5), axis=-1)
    return tf.reduce_sum(each * found, axis=1) / tf.maximum(tf.reduce_sum(found, axis=1), 1.0) / 4


def _suppressed(boxes: npt.NDArray[Any], scores: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """Boxes [20, 4], scores [20], and classes [20] of a scene, from all anchors' boxes [A, 4] and scores [A, kinds]."""
    anchor, kind = np.nonzero(scores >= _LEAST_SCORE)
    order = np.argsort(-scores[anchor, kind], kind="stable")
    kept: list[tuple[int, int]] = []
    for place, of in zip(anchor[order], kind[order], strict=True):
        rivals = [other for other, same in kept if same == of]
        if len(kept) < _DETECTIONS and not (rivals and _iou(boxes[place], boxes[rivals]).max() > _SUPPRESSED_ABOVE):
            kept.append((int(place), int(of)))
    result = np.zeros([_DETECTIONS, 4], np.float32), np.zeros(_DETECTIONS, np.float32), np.zeros(_DETECTIONS, np.int64)
    for row, (place, of) in enumerate(kept):
        result[0][row], result[1][row], result[2][row] = boxes[place], scores[place, of], of
    return result


def _iou(box: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[Any]:
    shared = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = np.maximum(shared, 0).prod(axis=1)
    area = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1)
    return np.asarray(both / np.maximum(area - both, 1e-6))


TASK = Detector()
