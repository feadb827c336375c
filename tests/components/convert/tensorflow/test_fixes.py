"""Files that TensorFlow's converter or runtime would make wrong, against the float model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.convert.tensorflow.converter import convert
from components.facts.artifact_paths import SERVING_FOLDER
from components.model.keras_model import export
from components.model.tflite_runtime import TFLiteModel
from components.spec.scheme import Float16, Float32, Scheme

layers = tf.keras.layers


def of_images(layer: Any, size: int) -> tf.keras.Model:
    tf.keras.utils.set_random_seed(3)
    image = tf.keras.Input([size, size, 3], name="image")
    return tf.keras.Model(image, layer(image))


def difference(model: tf.keras.Model, scheme: Scheme, folder: Path, inputs: np.ndarray) -> float:
    export(model, folder)
    content = convert(folder / SERVING_FOLDER, scheme, None)
    (found,) = TFLiteModel(content).predict({model.input.name: inputs}).values()
    return float(np.abs(found - model(inputs).numpy()).max())


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (layers.Conv2D(24, 3, strides=4, padding="same"), 32),
        (layers.DepthwiseConv2D(2, strides=4, padding="same"), 16),
        (layers.MaxPooling2D(2, strides=4, padding="same"), 16),
        (layers.Conv2D(4, 3, strides=2, padding="same"), 9),
        (layers.Conv2D(4, 2, strides=4, dilation_rate=1, padding="same"), 17),
    ],
    ids=["conv", "depthwise", "pool", "padded", "padded at the end"],
)
def test_strides_longer_than_the_window_compute_what_the_model_does(layer: Any, size: int, tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=[2, size, size, 3]).astype(np.float32)
    assert difference(of_images(layer, size), Float32(), tmp_path, images) < 1e-5


def test_float16_file_of_an_lstm_with_a_mask_runs(tmp_path: Path) -> None:
    tf.keras.utils.set_random_seed(3)
    series = tf.keras.Input([6, 4], name="series")
    model = tf.keras.Model(series, layers.LSTM(8)(layers.Masking()(series)))
    sequences = np.random.default_rng(0).normal(size=[4, 6, 4]).astype(np.float32)
    sequences[:, 4:] = 0
    assert difference(model, Float16(), tmp_path, sequences) < 2e-3
