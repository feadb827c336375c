"""Inputs as pictures, curves, and text."""

import base64
import io

import numpy as np
from PIL import Image

from components.changes.shown import shown


def picture(values) -> Image.Image:
    (one,) = shown({"": values})
    assert one.kind == "image"
    return Image.open(io.BytesIO(base64.b64decode(one.png)))


def test_images_keep_their_pixels() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert (np.asarray(picture(pixels)) == pixels).all()
    gray = np.linspace(0, 1, 256).reshape(16, 16, 1).astype(np.float32)
    assert (np.asarray(picture(gray)) == np.arange(256).reshape(16, 16)).all()
    # Around zero, as Keras' `tf` mode scales images.
    assert np.asarray(picture(np.full((9, 9, 3), 0.0) - np.eye(9)[..., None]))[1, 0, 0] == 128
    # Any other range is stretched.
    assert np.asarray(picture(np.array([[[-40.0], [0.0]], [[40.0], [0.0]]]))).tolist() == [[0, 128], [255, 128]]


def test_large_images_are_made_small() -> None:
    assert picture(np.zeros((500, 250, 3), np.float32)).size == (48, 96)


def test_series_are_curves_of_few_points() -> None:
    series = np.stack([np.arange(1000.0), np.ones(1000)], axis=1)
    (one,) = shown({"accelerometer": series})
    assert (one.kind, one.name, len(one.curves)) == ("curves", "accelerometer", 2)
    assert len(one.curves[0]) <= 128 and one.curves[0][:2] == (0.0, 8.0)
    (audio,) = shown({"": np.zeros(16000, np.float32)})
    assert (audio.kind, len(audio.curves)) == ("curves", 1)
    # 40 bands over 98 frames are a picture.
    (spectrum,) = shown({"": np.random.default_rng(0).normal(size=(98, 40))})
    assert spectrum.kind == "image"


def test_everything_else_is_text() -> None:
    words, few, many, empty = shown(
        {
            "words": np.array(["über uns".encode(), b"\xff"]),
            "few": np.array([1.5, np.nan]),
            "many": np.zeros((3, 5, 7, 2)),
            "empty": np.zeros((0, 3)),
        }
    )
    assert words.text == "über uns �"
    assert few.text == "1.5, nan"
    assert many.text.endswith("(shape 3 x 5 x 7 x 2)")
    assert (empty.kind, empty.text) == ("text", "")
