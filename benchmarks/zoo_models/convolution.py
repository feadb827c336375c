"""Image classifiers: blocks, activations, and layers of preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.zoo_models.entry import ZooModel


def _classifier(k: Any, blocks: Callable[[Any], Any], shape: tuple[int, ...] = (16, 16, 3)) -> Any:
    image = k.Input(shape, name="image")
    pooled = k.layers.GlobalAveragePooling2D()(blocks(image))
    return k.Model(image, k.layers.Dense(5, "softmax", name="scores")(pooled))


def _conv(k: Any, x: Any, filters: int, size: int = 3, activation: Any = "relu", **options: Any) -> Any:
    x = k.layers.Conv2D(filters, size, padding="same", use_bias=False, **options)(x)
    x = k.layers.BatchNormalization()(x)
    return x if activation is None else k.layers.Activation(activation)(x)


def cnn(k: Any) -> Any:
    layers = k.layers
    return k.Sequential(
        [
            k.Input([16, 16, 1], name="image"), layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D(),
            layers.Conv2D(24, 3, activation="relu"), layers.Flatten(), layers.Dense(32, "relu"), layers.Dropout(0.3),
            layers.Dense(10, "softmax"),
        ]
    )  # fmt: skip


def lenet(k: Any) -> Any:
    layers = k.layers
    stages = [part for width in (6, 16) for part in (layers.Conv2D(width, 5, activation="tanh", padding="same"),
                                                     layers.AveragePooling2D())]  # fmt: skip
    return k.Sequential([k.Input([16, 16, 1], name="image"), *stages, layers.Flatten(), layers.Dense(84, "tanh"),
                         layers.Dense(10)])  # fmt: skip


def depthwise(k: Any) -> Any:
    """The keyword model of MLPerf Tiny, narrower."""

    def blocks(x: Any) -> Any:
        x = _conv(k, x, 16, strides=2)
        for _ in range(2):
            x = k.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
            x = _conv(k, k.layers.ReLU()(k.layers.BatchNormalization()(x)), 32, 1)
        return x

    return _classifier(k, blocks, (24, 10, 1))


def residual(k: Any) -> Any:
    def blocks(x: Any) -> Any:
        x = _conv(k, x, 16)
        for width, strides in ((16, 1), (32, 2)):
            y = _conv(k, _conv(k, x, width, strides=strides), width, activation=None)
            short = x if strides == 1 else k.layers.Conv2D(width, 1, strides=strides)(x)
            x = k.layers.ReLU()(k.layers.Add()([y, short]))
        return x

    return _classifier(k, blocks)


def inception(k: Any) -> Any:
    def blocks(x: Any) -> Any:
        pooled = k.layers.MaxPooling2D(3, strides=1, padding="same")(x)
        ways = [_conv(k, x, 8, 1), _conv(k, _conv(k, x, 8, 1), 12), _conv(k, x, 8, 5), _conv(k, pooled, 8, 1)]
        return k.layers.Concatenate()(ways)

    return _classifier(k, lambda x: blocks(blocks(x)))


def dense_block(k: Any) -> Any:
    def blocks(x: Any) -> Any:
        x = _conv(k, x, 12)
        for _ in range(3):
            y = k.layers.ReLU()(k.layers.BatchNormalization()(x))
            x = k.layers.Concatenate()([x, k.layers.Conv2D(8, 3, padding="same")(y)])
        return k.layers.AveragePooling2D()(x)

    return _classifier(k, blocks)


def separable(k: Any) -> Any:
    def blocks(x: Any) -> Any:
        x = k.layers.SeparableConv2D(24, 3, activation="relu")(x)
        return k.layers.BatchNormalization()(k.layers.SeparableConv2D(48, 3, depth_multiplier=2)(x))

    return _classifier(k, blocks)


def squeeze_excite(k: Any) -> Any:
    def blocks(x: Any) -> Any:
        x = _conv(k, x, 32, activation="swish")
        pooled = k.layers.GlobalAveragePooling2D(keepdims=True)(x)
        gate = k.layers.Conv2D(32, 1, activation="sigmoid")(k.layers.Conv2D(8, 1, activation="relu")(pooled))
        return _conv(k, k.layers.Multiply()([x, gate]), 32)

    return _classifier(k, blocks)


def dilated(k: Any) -> Any:
    return _classifier(k, lambda x: _conv(k, _conv(k, x, 16, dilation_rate=2), 32, dilation_rate=4))


def grouped(k: Any) -> Any:
    return _classifier(k, lambda x: _conv(k, _conv(k, x, 16), 32, groups=4))


def convnext_block(k: Any) -> Any:
    def blocks(x: Any) -> Any:
        x = k.layers.Conv2D(24, 4, strides=4)(x)
        y = k.layers.LayerNormalization(epsilon=1e-6)(k.layers.DepthwiseConv2D(3, padding="same")(x))
        return k.layers.Add()([x, k.layers.Dense(24)(k.layers.Dense(48, "gelu")(y))])

    return _classifier(k, blocks)


def group_normalized(k: Any) -> Any:
    def blocks(x: Any) -> Any:
        x = k.layers.GroupNormalization(4)(k.layers.Conv2D(16, 3)(x))
        return k.layers.Conv2D(32, 3, activation="relu")(k.layers.ReLU()(x))

    return _classifier(k, blocks)


def prelu(k: Any) -> Any:
    return _classifier(k, lambda x: _conv(k, k.layers.PReLU(shared_axes=[1, 2])(_conv(k, x, 16, activation=None)), 24))


def leaky_relu(k: Any) -> Any:
    def blocks(x: Any) -> Any:
        return k.layers.LeakyReLU()(
            _conv(k, k.layers.LeakyReLU()(_conv(k, x, 16, activation=None)), 24, activation=None)
        )

    return _classifier(k, blocks)


def hard_swish(k: Any) -> Any:
    """As in MobileNetV3: ReLU6 and operators on tensors."""

    def swish(x: Any) -> Any:
        return x * (k.layers.ReLU(6.0)(x + 3.0) / 6.0)

    return _classifier(k, lambda x: swish(_conv(k, swish(_conv(k, x, 16, activation=None)), 24, activation=None)))


def mish(k: Any) -> Any:
    return _classifier(k, lambda x: _conv(k, _conv(k, x, 16, activation="mish"), 24, activation="softplus"))


def hard_sigmoid(k: Any) -> Any:
    return _classifier(k, lambda x: _conv(k, _conv(k, x, 16, activation="hard_sigmoid"), 24, activation="elu"))


def rescaled(k: Any) -> Any:
    return _classifier(k, lambda x: _conv(k, _conv(k, k.layers.Rescaling(1 / 127.5, -1)(x), 16), 24))


def standardized(k: Any) -> Any:
    norm = k.layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3000.0, 2500.0, 3500.0])
    return _classifier(k, lambda x: _conv(k, _conv(k, norm(x), 16), 24))


def resized(k: Any) -> Any:
    return _classifier(k, lambda x: _conv(k, k.layers.Resizing(12, 12)(x), 16), (24, 24, 3))


def augmented(k: Any) -> Any:
    layers = k.layers

    def blocks(x: Any) -> Any:
        x = layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(x))
        return _conv(k, layers.GaussianNoise(0.1)(x), 24)

    return _classifier(k, blocks)


def global_max(k: Any) -> Any:
    image = k.Input([16, 16, 3], name="image")
    x = k.layers.GlobalMaxPooling2D()(_conv(k, _conv(k, image, 16), 32))
    return k.Model(image, k.layers.Softmax()(k.layers.Dense(5)(x)))


def mean_of_squares(k: Any) -> Any:
    import tensorflow as tf

    return _classifier(k, lambda x: tf.abs(_conv(k, x, 16)) - tf.square(_conv(k, x, 16, activation=None)))


def space_to_depth(k: Any) -> Any:
    import tensorflow as tf

    return _classifier(k, lambda x: _conv(k, tf.nn.space_to_depth(x, 2), 24))


def sliced(k: Any) -> Any:
    return _classifier(k, lambda x: _conv(k, _conv(k, x, 24)[:, 2:-2, ::2, :16], 24))


def three_dimensions(k: Any) -> Any:
    layers = k.layers
    parts = [layers.Conv3D(8, 3, activation="relu"), layers.MaxPooling3D(2), layers.Conv3D(16, 3, activation="relu")]
    return k.Sequential(
        [k.Input([10, 10, 10, 1], name="volume"), *parts, layers.GlobalAveragePooling3D(), layers.Dense(4)]
    )


def nested(k: Any) -> Any:
    """A backbone that is one layer of the model."""
    image = k.Input([16, 16, 3], name="picture")
    backbone = k.Model(image, _conv(k, _conv(k, image, 16), 24), name="backbone")
    return _classifier(k, backbone)


def mlp_mixer(k: Any) -> Any:
    layers = k.layers

    def blocks(x: Any) -> Any:
        x = layers.Reshape((16, 24))(layers.Conv2D(24, 4, strides=4)(x))
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Permute((2, 1))(layers.Dense(16)(layers.Dense(32, "gelu")(y)))])
        x = layers.Add()([x, layers.Dense(24)(layers.Dense(48, "gelu")(layers.LayerNormalization()(x)))])
        return layers.Reshape((4, 4, 24))(x)

    return _classifier(k, blocks)


_BYTES = frozenset({"rescaled", "standardized"})
MODELS = tuple(
    ZooModel(build.__name__, "image classifier", build, high=255.0 if build.__name__ in _BYTES else None)
    for build in (
        cnn, lenet, depthwise, residual, inception, dense_block, separable, squeeze_excite, dilated, grouped,
        convnext_block, group_normalized, prelu, leaky_relu, hard_swish, mish, hard_sigmoid, rescaled, standardized,
        resized, augmented, global_max, mean_of_squares, space_to_depth, sliced, three_dimensions, nested, mlp_mixer,
    )
)  # fmt: skip
