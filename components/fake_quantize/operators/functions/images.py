"""Windows of images and signals, and mirrored images, by functions that move values. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from components.fake_quantize.operators.parts import Parts
from components.upstream.keras import is_symbolic

_layers = tf.keras.layers
_Given = Mapping[str, Any]
_Row = Callable[[Parts, _Given], Any]


def _mirrored(axis: int) -> _Row:
    def made(parts: Parts, given: _Given) -> Any:
        x = given["image"]
        places = tuple(slice(None, None, -1 if place == x.shape.rank + axis else None) for place in range(x.shape.rank))
        return parts.function("__operators__.getitem", "", x, places)

    return made


def _cropped(parts: Parts, given: _Given) -> Any:
    sizes = [given[name] for name in ("offset_height", "offset_width", "target_height", "target_width")]
    return None if any(map(is_symbolic, sizes)) else _window(parts, given["image"], *map(int, sizes))


def _central(parts: Parts, given: _Given) -> Any:
    x, part = given["image"], given["central_fraction"]
    if is_symbolic(part) or x.shape.rank != 4 or None in x.shape[1:]:
        return None
    top, left = (int((size - size * float(part)) / 2) for size in x.shape[1:3])
    return _window(parts, x, top, left, x.shape[1] - 2 * top, x.shape[2] - 2 * left)


def _window(parts: Parts, x: Any, top: int, left: int, height: int, width: int) -> Any:
    if x.shape.rank != 4 or None in x.shape[1:]:
        return None
    places = (slice(None), slice(top, top + height), slice(left, left + width))
    return parts.function("__operators__.getitem", "", x, places)


def _framed_image(parts: Parts, given: _Given) -> Any:
    """An image in a larger one of zeros."""
    x = given["image"]
    sizes = [given[name] for name in ("offset_height", "offset_width", "target_height", "target_width")]
    if any(map(is_symbolic, sizes)) or x.shape.rank != 4 or None in x.shape[1:]:
        return None
    top, left, height, width = map(int, sizes)
    padding = ((top, height - top - x.shape[1]), (left, width - left - x.shape[2]))
    return parts.layer(_layers.ZeroPadding2D, "", {"padding": padding}, x)


def _frames(parts: Parts, given: _Given) -> Any:
    """Windows of a signal that overlap: elements that are gathered along an axis of a fixed length."""
    x, axis = given["signal"], int(given["axis"]) % given["signal"].shape.rank
    length, step, size = given["frame_length"], given["frame_step"], x.shape[axis]
    if any(map(is_symbolic, (length, step))) or given["pad_end"] or axis == 0 or size is None or int(length) > size:
        return None
    starts = np.arange(0, size - int(length) + 1, int(step), dtype=np.int32)
    return parts.function(
        "compat.v1.gather", "", x, starts[:, None] + np.arange(int(length), dtype=np.int32), axis=axis
    )


# Public name of a function -> the layers that it becomes; a row that returns None leaves it a function.
ROWS: dict[str, _Row] = {
    "image.flip_left_right": _mirrored(-2),
    "image.flip_up_down": _mirrored(-3),
    "image.crop_to_bounding_box": _cropped,
    "image.central_crop": _central,
    "image.pad_to_bounding_box": _framed_image,
    "signal.frame": _frames,
}
