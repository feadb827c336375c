"""Models with several outputs, or with an output for each pixel: detectors, segmentation, keypoints, restoration."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo_models.entry import ZooModel


def _conv(k: Any, x: Any, filters: int, strides: int = 1, activation: str | None = "relu") -> Any:
    x = k.layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    x = k.layers.BatchNormalization()(x)
    return x if activation is None else k.layers.Activation(activation)(x)


def unet(k: Any) -> Any:
    layers = k.layers
    image = k.Input([16, 16, 3], name="image")
    a = _conv(k, image, 8)
    b = _conv(k, layers.MaxPooling2D()(a), 16)
    c = _conv(k, layers.MaxPooling2D()(b), 32)
    x = layers.Concatenate()([b, layers.Conv2DTranspose(16, 2, strides=2)(c)])
    x = layers.Concatenate()([a, layers.Conv2DTranspose(8, 2, strides=2)(_conv(k, x, 16))])
    return k.Model(image, layers.Conv2D(3, 1, activation="softmax", name="mask")(_conv(k, x, 8)))


def upsampling_unet(k: Any) -> Any:
    layers = k.layers
    image = k.Input([16, 16, 3], name="image")
    a = _conv(k, image, 16)
    b = _conv(k, a, 32, strides=2)
    x = layers.Add()([a, _conv(k, layers.UpSampling2D(interpolation="bilinear")(b), 16, activation=None)])
    return k.Model(image, layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x))


def detector(k: Any) -> Any:
    """A single-shot detector: boxes and scores of two scales."""
    layers = k.layers
    image = k.Input([32, 32, 3], name="image")
    fine = _conv(k, _conv(k, image, 16, strides=2), 24, strides=2)
    coarse = _conv(k, fine, 32, strides=2)
    boxes = [layers.Reshape((-1, 4))(layers.Conv2D(8, 3, padding="same")(x)) for x in (fine, coarse)]
    scores = [layers.Reshape((-1, 3))(layers.Conv2D(6, 3, padding="same")(x)) for x in (fine, coarse)]
    joined = [layers.Concatenate(axis=1, name="boxes")(boxes), layers.Concatenate(axis=1)(scores)]
    return k.Model(image, [joined[0], layers.Activation("sigmoid", name="scores")(joined[1])])


def grid_detector(k: Any) -> Any:
    """Sigmoid centers and exponential sizes in one output, as in YOLO."""
    layers = k.layers
    image = k.Input([32, 32, 3], name="image")
    x = layers.Conv2D(5, 1)(_conv(k, _conv(k, image, 24, strides=4), 32, strides=2))
    centers, sizes, sure = (x[:, :, :, low:high] for low, high in ((0, 2), (2, 4), (4, 5)))  # Keras can't save `...`.
    parts = [layers.Activation("sigmoid")(centers), layers.Activation("exponential")(sizes)]
    return k.Model(image, layers.Concatenate(name="cells")([*parts, layers.Activation("sigmoid")(sure)]))


def center_net(k: Any) -> Any:
    layers = k.layers
    image = k.Input([24, 24, 3], name="image")
    x = _conv(k, _conv(k, image, 24, strides=2), 32)
    heads = {"heat": "sigmoid", "offset": None, "size": "relu"}
    return k.Model(image, [layers.Conv2D(2, 1, activation=kind, name=name)(x) for name, kind in heads.items()])


def multi_task(k: Any) -> Any:
    layers = k.layers
    image = k.Input([16, 16, 3], name="face")
    x = layers.Flatten()(_conv(k, _conv(k, image, 16, strides=2), 16, strides=2))
    return k.Model(
        image,
        [
            layers.Dense(1, "relu", name="age")(x), layers.Dense(2, "softmax", name="glasses")(x),
            layers.Dense(6, "sigmoid", name="attributes")(x), layers.Dense(3, name="pose")(x),
        ],
    )  # fmt: skip


def keypoints(k: Any) -> Any:
    layers = k.layers
    image = k.Input([16, 16, 3], name="image")
    x = layers.Dense(64, "relu")(layers.Flatten()(_conv(k, _conv(k, image, 16, strides=2), 16, strides=2)))
    return k.Model(image, layers.Reshape((5, 2), name="points")(layers.Dense(10)(x)))


def super_resolution(k: Any) -> Any:
    """A pixel shuffle: `depth_to_space`."""
    import tensorflow as tf

    image = k.Input([12, 12, 3], name="image")
    x = k.layers.Conv2D(12, 3, padding="same")(_conv(k, image, 24))
    return k.Model(image, tf.nn.depth_to_space(x, 2))


def image_autoencoder(k: Any) -> Any:
    layers = k.layers
    image = k.Input([16, 16, 1], name="image")
    code = layers.Dense(16, name="code")(layers.Flatten()(_conv(k, _conv(k, image, 8, strides=2), 16, strides=2)))
    x = layers.Reshape((4, 4, 16))(layers.Dense(256, "relu")(code))
    for width in (16, 8):
        x = layers.Conv2DTranspose(width, 3, strides=2, padding="same", activation="relu")(x)
    return k.Model(image, layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="restored")(x))


def denoiser(k: Any) -> Any:
    image = k.Input([16, 16, 1], name="noisy")
    noise = k.layers.Conv2D(1, 3, padding="same")(_conv(k, _conv(k, image, 24), 24))
    return k.Model(image, image - noise)


def feature_pyramid(k: Any) -> Any:
    layers = k.layers
    image = k.Input([32, 32, 3], name="image")
    levels = [_conv(k, image, 16, strides=2)]
    for width in (24, 32):
        levels.append(_conv(k, levels[-1], width, strides=2))
    x = layers.Conv2D(16, 1)(levels[-1])
    outputs = [layers.Conv2D(4, 1, name="coarse")(x)]
    for name, level in (("middle", levels[1]), ("fine", levels[0])):
        x = layers.Add()([layers.UpSampling2D()(x), layers.Conv2D(16, 1)(level)])
        outputs.append(layers.Conv2D(4, 1, name=name)(x))
    return k.Model(image, outputs)


def shared_head(k: Any) -> Any:
    """One head of shared layers on two scales, as in RetinaNet."""
    layers = k.layers
    image = k.Input([16, 16, 3], name="image")
    fine = _conv(k, image, 16, strides=2)
    coarse = _conv(k, fine, 16, strides=2)
    head = layers.Conv2D(4, 3, padding="same")
    rows = [layers.Reshape((-1, 4))(head(x)) for x in (fine, coarse)]
    return k.Model(image, layers.Concatenate(axis=1, name="boxes")(rows))


MODELS = tuple(
    ZooModel(build.__name__, "several outputs, or one per pixel", build)
    for build in (
        unet, upsampling_unet, detector, grid_detector, center_net, multi_task, keypoints, super_resolution,
        image_autoencoder, denoiser, feature_pyramid, shared_head,
    )
)  # fmt: skip
