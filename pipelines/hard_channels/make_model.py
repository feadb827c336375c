"""Trains a small depthwise network and gives its channels heavy-tailed scales: `model.keras`.

Run from the repository: `python -m pipelines.hard_channels.make_model`.

Scaling a channel after a ReLU, and dividing the weights that read it by the same factor, doesn't change results in
floating point. This is cross-layer equalization (Nagel et al. 2019, arXiv:1906.04721, section 4.1) in reverse: the
paper fixes such channels in MobileNets, and this script creates them. One scale per tensor must then cover the widest
channel, which leaves few of the 256 levels for narrow channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import components  # noqa: F401  # chooses tf-keras before TensorFlow is imported
from pipelines.fashion_mnist.task import CLASSES, SIDE, TASK

FOLDER = Path(__file__).parent
DATA = FOLDER.parent / "fashion_mnist" / "data" / "train.tfrecord.gz"
# Standard deviation of the scales' logarithms. With 1, int8 doesn't lose accuracy; with 2, it loses half of its
# accuracy.
SPREAD = 1.4
SEED, EPOCHS, BATCH_SIZE = 17, 10, 64


def build_model() -> tf.keras.Model:
    """Build a plain convolution and two depthwise-separable convolutions, about 8,000 weights."""
    layers = tf.keras.layers
    image = layers.Input([SIDE, SIDE, 1], name="image")
    x = _normalized(layers.Conv2D(24, 5, strides=2, padding="same", use_bias=False, name="stem")(image), "stem")
    x = _normalized(layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise_1")(x), "depthwise_1")
    x = _normalized(layers.Conv2D(48, 1, use_bias=False, name="pointwise_1")(x), "pointwise_1")
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name="depthwise_2")(x)
    x = _normalized(x, "depthwise_2")
    x = _normalized(layers.Conv2D(96, 1, use_bias=False, name="pointwise_2")(x), "pointwise_2")
    x = layers.Dropout(0.2, name="dropout")(layers.GlobalAveragePooling2D(name="average")(x))
    return tf.keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="probabilities")(x))


def with_heavy_tails(model: tf.keras.Model, seed: int = 6) -> None:
    """Scale the channels between `depthwise_2` and `pointwise_2` by log-normal factors, undone in `pointwise_2`."""
    norm, reader = model.get_layer("depthwise_2_norm"), model.get_layer("pointwise_2")
    gamma, beta, *statistics = norm.get_weights()
    factors = np.exp(np.random.RandomState(seed).normal(0.0, SPREAD, len(gamma))).astype(np.float32)
    norm.set_weights([gamma * factors, beta * factors, *statistics])
    (kernel,) = reader.get_weights()
    reader.set_weights([kernel / factors[:, np.newaxis]])


def training_examples() -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Read images [3000, 28, 28, 1] and labels [3000] of the Fashion-MNIST example."""
    records = tf.data.TFRecordDataset(str(DATA), compression_type="GZIP")
    features = tf.io.parse_example([record.numpy() for record in records], dict(TASK.feature_spec()))
    return TASK.decode(features).numpy(), features["label"].numpy()


def main() -> None:
    """Train, rescale, and save the model."""
    tf.keras.utils.set_random_seed(SEED)
    model = build_model()
    TASK.compile(model)
    images, labels = training_examples()
    model.fit(images, labels, BATCH_SIZE, EPOCHS, verbose=2)
    before = model.predict(images[:100], verbose=0)
    with_heavy_tails(model)
    # In floating point, only the rounding changes.
    np.testing.assert_allclose(model.predict(images[:100], verbose=0), before, atol=1e-4)
    tf.keras.Model(model.inputs, model.outputs).save(FOLDER / "model.keras")


def _normalized(x: tf.Tensor, name: str) -> tf.Tensor:
    layers = tf.keras.layers
    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x))


if __name__ == "__main__":
    main()
