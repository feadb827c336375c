"""Small models with one planted fault each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from components.upstream.tflite.converter import PER_TENSOR, set_option, with_one_scale_per_dense_layer

LAYERS = tf.keras.layers
IMAGES = np.random.default_rng(0).uniform(0, 1, (32, 8, 8, 3)).astype(np.float32)
# Zeros, and one white corner: the ranges of the input are the same, those of all that follows are not.
DARK = np.zeros((4, 8, 8, 3), np.float32)
DARK[:, :1, :1] = 1.0


@dataclass(frozen=True)
class Planted:
    """A fault.

    Attributes:
        name: Name of the test.
        build: Builds the model.
        layer: Beginning of the last part of the name of the layer at fault.
        cause: Its cause.
        options: Options of `quantized`.
    """

    name: str
    build: Callable[[], Any]
    layer: str
    cause: str
    options: dict[str, Any] = field(default_factory=dict)


def sound() -> Any:
    """Two convolutions and two dense layers, with random weights."""
    tf.keras.utils.set_random_seed(1)
    image = LAYERS.Input([8, 8, 3], name="image")
    x = LAYERS.Conv2D(8, 3, activation="relu", name="first")(image)
    x = LAYERS.Conv2D(8, 3, activation="relu", name="second")(x)
    x = LAYERS.GlobalAveragePooling2D(name="mean")(x)
    x = LAYERS.Dense(8, activation="relu", name="hidden")(x)
    return tf.keras.Model(image, LAYERS.Dense(4, name="scores")(x))


def _changed(layer: str, change: Callable[[Any, Any], None], build: Callable[[], Any] = sound) -> Callable[[], Any]:
    def made() -> Any:
        model = build()
        kernel, bias = model.get_layer(layer).get_weights()
        change(kernel, bias)
        model.get_layer(layer).set_weights([kernel, bias])
        return model

    return made


def _wide(channel: int, factor: float) -> Callable[[Any, Any], None]:
    def change(kernel: Any, bias: Any) -> None:
        kernel[..., channel] *= factor

    return change


def _masked(kernel: Any, bias: Any) -> None:
    """A bias that turns a channel off, as masks do."""
    kernel[..., 0] *= 0.1
    bias[0] = -1e7


def _unused(kernel: Any, bias: Any) -> None:
    """A channel with large weights that a ReLU cuts off."""
    kernel[..., 0] = -60.0
    bias[0] = -1.0


def _joined(deep: bool) -> Callable[[], Any]:
    def made() -> Any:
        tf.keras.utils.set_random_seed(2)
        image = LAYERS.Input([8, 8, 3], name="image")
        wide = LAYERS.Conv2D(4, 3, activation="relu", name="wide")(image)
        narrow = LAYERS.Conv2D(4, 3, activation="relu", name="narrow")(image)
        if deep:
            wide, narrow = LAYERS.Flatten()(wide), LAYERS.Flatten()(narrow)
            wide = LAYERS.Dense(4, activation="relu", name="wide_dense")(wide)
        x = LAYERS.Concatenate(name="joined")([wide, narrow])
        x = LAYERS.Flatten()(x)
        return tf.keras.Model(image, LAYERS.Dense(4, name="scores")(x))

    return made


def _hard_swish(second: bool) -> Callable[[], Any]:
    def made() -> Any:
        tf.keras.utils.set_random_seed(3)
        image = LAYERS.Input([8, 8, 3], name="image")
        x = LAYERS.Conv2D(8, 3, activation="relu", name="before")(image) if second else image
        x = LAYERS.Conv2D(8, 3, name="curved")(x)
        x = x * tf.nn.relu6(x + 3.0) * (1 / 6)
        x = LAYERS.GlobalAveragePooling2D(name="mean")(x)
        return tf.keras.Model(image, LAYERS.Dense(4, name="scores")(x))

    return made


def _mostly_negative(kernel: Any, bias: Any) -> None:
    """Values between -3 and 0, where hard-swish curves, and one channel far above."""
    kernel *= 2.0
    kernel -= kernel.mean(axis=(0, 1, 2), keepdims=True)
    bias[:] = -1.5
    kernel[..., 0] = np.abs(kernel[..., 0]) * 6
    bias[0] = 20.0


def _mean_place() -> Any:
    """Coordinates as the mean place of a nearly even heatmap."""
    tf.keras.utils.set_random_seed(4)
    image = LAYERS.Input([8, 8, 3], name="image")
    x = LAYERS.Conv2D(8, 3, padding="same", activation="relu", name="first")(image)
    x = LAYERS.Dense(128, name="heat")(LAYERS.Flatten()(x))
    x = LAYERS.Softmax(name="softmax")(x)
    return tf.keras.Model(image, LAYERS.Dense(2, name="places")(x))


PLANTED = (
    Planted("first convolution", _changed("first", _wide(0, 200.0)), "first", "dominant_channel"),
    Planted("second convolution", _changed("second", _wide(3, 300.0)), "second", "dominant_channel"),
    Planted("narrow branch", _changed("narrow", lambda kernel, _: kernel.__imul__(1e-3), _joined(False)), "joined",
            "unequal_concatenation"),
    Planted("wide dense branch", _changed("wide_dense", lambda kernel, _: kernel.__imul__(200.0), _joined(True)),
            "joined", "unequal_concatenation"),
    Planted("hard-swish first", _changed("curved", _mostly_negative, _hard_swish(False)), "tf.math.multiply",
            "hard_swish"),
    Planted("hard-swish later", _changed("curved", _mostly_negative, _hard_swish(True)), "tf.math.multiply",
            "hard_swish"),
    Planted("mean place of a heatmap", _mean_place, "softmax", "many_places"),
    Planted("bias of a dense layer", _changed("hidden", _masked), "hidden", "bias_overflow"),
    Planted("bias of a convolution", _changed("second", _masked), "second", "bias_overflow", {"per_tensor": True}),
    Planted("rows of a dense layer", _changed("hidden", _unused), "hidden", "one_scale"),
    Planted("channels of a convolution", _changed("second", _unused), "second", "one_scale", {"per_tensor": True}),
    Planted("input brighter than the sample", sound, "image", "saturated", {"sample": IMAGES * 0.2}),
    Planted("layers brighter than the sample", sound, "first", "saturated", {"sample": DARK}),
)  # fmt: skip


def float_file(model: Any) -> bytes:
    """The float file of a Keras model."""
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def quantized(model: Any, *, sample: Any = IMAGES, per_tensor: bool = False, bits: int = 8) -> bytes:
    """The file of a Keras model in integers."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in sample)
    sets = tf.lite.OpsSet
    wide = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.target_spec.supported_ops = [sets.TFLITE_BUILTINS_INT8 if bits == 8 else wide]
    converter.inference_input_type = converter.inference_output_type = tf.int8 if bits == 8 else tf.int16
    set_option(converter, PER_TENSOR, per_tensor)
    with_one_scale_per_dense_layer(converter)
    return bytes(converter.convert())


def examples(images: Any = IMAGES) -> Iterator[dict[str, Any]]:
    """The images as a decoder returns them, one by one."""
    return ({"image": image[None]} for image in images)
