"""Saves small models of many architectures in Keras 3, with inputs and outputs. Runs as its own program.

Usage: python architectures.py FOLDER
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FAMILIES = (
    "ConvNeXt", "DenseNet", "EfficientNet", "EfficientNetV2", "InceptionResNetV2", "InceptionV3", "MobileNet",
    "MobileNetV2", "MobileNetV3Small", "NASNet", "ResNet", "ResNetV2", "VGG16", "Xception",
)  # fmt: skip
# The kinds of paths that weights have in HDF5.
IN_HDF5 = (
    "sequential", "normalizations", "nested", "distributed_over_time", "bidirectional", "recurrent_cells",
    "transformer", "moves", "spaced_names",
)  # fmt: skip
LAYERS = 110
BUILT: dict[str, Callable[[Any], Any]] = {}


def architecture(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    BUILT[build.__name__] = build
    return build


def family(keras: Any, name: str) -> Any:
    """A model of a family of `keras.applications`, as narrow and shallow as its function allows."""
    from keras.src.applications import (
        convnext,
        densenet,
        efficientnet,
        efficientnet_v2,
        inception_resnet_v2,
        nasnet,
        resnet,
        xception,
    )

    # These repeat blocks a fixed number of times.
    for module in (inception_resnet_v2, xception):
        module.range = lambda *limits: range(*limits)[:1]

    options = {"weights": None, "classes": 5}
    small = {"input_shape": (32, 32, 3), **options}
    match name:
        case "ConvNeXt":
            return convnext.ConvNeXt([1, 1, 1, 1], [8, 8, 16, 16], **small)
        case "DenseNet":
            return densenet.DenseNet([1, 2, 1, 1], **small)
        case "EfficientNet":
            return efficientnet.EfficientNet(0.2, 0.2, 32, **small)
        case "EfficientNetV2":
            return efficientnet_v2.EfficientNetV2(0.2, 0.2, 32, name="efficientnetv2-b0", **small)
        case "NASNet":
            sizes = {"penultimate_filters": 96, "num_blocks": 1, "stem_block_filters": 4}
            return nasnet.NASNet((32, 32, 3), skip_reduction=False, filter_multiplier=2, **sizes, **options)
        case "ResNet":
            return resnet.ResNet(lambda x: resnet.stack_residual_blocks_v1(x, 8, 2, name="c"), False, True, **small)
        case "ResNetV2":
            return resnet.ResNet(lambda x: resnet.stack_residual_blocks_v2(x, 8, 2, name="c"), True, True, **small)
        case "MobileNet" | "MobileNetV3Small":
            return getattr(keras.applications, name)(alpha=0.25, **small)
        case "MobileNetV2":
            return keras.applications.MobileNetV2(alpha=0.35, **small)
        case "VGG16":
            return keras.applications.VGG16(include_top=False, input_shape=(32, 32, 3), weights=None)
        case "Xception":
            return keras.applications.Xception(input_shape=(71, 71, 3), **options)
    return getattr(keras.applications, name)(input_shape=(75, 75, 3), **options)


def shortened(keras: Any, model: Any) -> Any:
    """The first layers of a model if they are of every kind that it has. The others take time and show nothing new."""
    if len(model.layers) <= LAYERS:
        return model
    x = keras.layers.GlobalAveragePooling2D()(model.layers[LAYERS].output)
    kept = keras.Model(model.inputs, keras.layers.Dense(5)(x))
    return kept if {type(layer) for layer in model.layers} == {type(layer) for layer in kept.layers} else model


@architecture
def sequential(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input([8, 8, 3], name="image"),
            layers.Rescaling(1 / 127.5, offset=-1.0),
            layers.Conv2D(4, 3, padding="same", use_bias=False, kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.SeparableConv2D(6, 3, activation="silu"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, activation="leaky_relu"),
            layers.LeakyReLU(negative_slope=0.1),
            layers.Conv2DTranspose(3, 2, strides=2, activation="hard_sigmoid"),
            layers.PReLU(shared_axes=[1, 2]),
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.Flatten(),
            layers.Dropout(0.3, seed=1),
            layers.Dense(5, activation="softmax"),
        ],
        name="small",
    )


@architecture
def sequential_without_input(keras: Any) -> Any:
    model = keras.Sequential([keras.layers.Dense(4, activation="gelu"), keras.layers.Dense(2)])
    model.build([None, 6])
    return model


@architecture
def one_dimension(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input([24, 2]),
            layers.ZeroPadding1D(2),
            layers.Conv1D(4, 3, dilation_rate=2, padding="causal", activation="relu6"),
            layers.MaxPooling1D(2),
            layers.SeparableConv1D(4, 3, activation="hard_silu"),
            layers.UpSampling1D(2),
            layers.Conv1DTranspose(3, 3, activation="mish"),
            layers.Cropping1D(1),
            layers.AveragePooling1D(2),
            layers.LayerNormalization(),
            layers.GlobalMaxPooling1D(),
            layers.Dense(3, activation="hard_tanh"),
        ]
    )


@architecture
def three_dimensions(keras: Any) -> Any:
    layers = keras.layers
    volume = keras.Input([6, 6, 6, 1], name="volume")
    x = layers.Conv3D(3, 3, activation="elu")(volume)
    x = layers.MaxPooling3D(2)(layers.ZeroPadding3D(1)(x))
    return keras.Model(volume, layers.Dense(2)(layers.GlobalAveragePooling3D()(x)))


@architecture
def normalizations(keras: Any) -> Any:
    layers = keras.layers
    values = keras.Input([4, 6])
    scaled = layers.Normalization(axis=-1, name="measured")
    scaled.adapt(np.array([[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 5.0, 3.0, 1.0, 0.0, 9.0]]]))
    fixed = layers.Normalization(mean=2.0, variance=4.0)(values)
    x = layers.GroupNormalization(3)(layers.Add()([scaled(values), fixed]))
    x = layers.UnitNormalization()(layers.LayerNormalization(epsilon=1e-6, center=False)(x))
    return keras.Model(values, layers.Dense(3)(x))


@architecture
def unet(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input([16, 16, 1], name="image")
    down = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    low = layers.Conv2D(6, 3, padding="same", activation="relu")(layers.MaxPooling2D()(down))
    up = layers.UpSampling2D(interpolation="bilinear")(low)
    up = layers.Concatenate()([up, down, layers.Conv2DTranspose(2, 3, strides=2, padding="same")(low)])
    return keras.Model(image, layers.Conv2D(2, 1, activation="sigmoid", name="mask")(up))


@architecture
def open_sizes(keras: Any) -> Any:
    image = keras.Input([None, None, 3], name="image")
    x = keras.layers.Conv2D(4, 3, activation="swish")(image)
    return keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(x)))


@architecture
def several_inputs_and_outputs(keras: Any) -> Any:
    layers = keras.layers
    image, sensor = keras.Input([8, 8, 3], name="image"), keras.Input([5], name="sensor")
    x = layers.Flatten()(layers.Conv2D(4, 3, strides=2)(image))
    x = layers.Concatenate()([x, layers.Dense(4, activation="tanh")(sensor)])
    return keras.Model([image, sensor], [layers.Dense(3, name="boxes")(x), layers.Dense(2, name="scores")(x)])


@architecture
def named_inputs_and_outputs(keras: Any) -> Any:
    left, right = keras.Input([3], name="a"), keras.Input([3], name="b")
    x = keras.layers.Subtract()([left, right])
    outputs = {"scores": keras.layers.Dense(2)(x), "boxes": keras.layers.Dense(4)(x)}
    return keras.Model({"right": right, "left": left}, outputs)


@architecture
def nested(keras: Any) -> Any:
    layers = keras.layers
    tile = keras.Input([4, 4, 2])
    functional = keras.Model(tile, [layers.Conv2D(3, 2)(tile), layers.Flatten()(tile)], name="tile")
    head = keras.Sequential([layers.Dense(4, activation="selu"), keras.Sequential([layers.Dense(3)])], name="head")
    image = keras.Input([4, 4, 2], name="image")
    one, other = functional(image)
    again, _ = functional(layers.ReLU()(image))
    x = layers.Concatenate()([layers.Flatten()(one), other, layers.Flatten()(again)])
    return keras.Model(image, head(x))


@architecture
def spaced_names(keras: Any) -> Any:
    """Names that the scopes of tf-keras don't take, next to one that they would become."""
    layers = keras.layers
    tile = keras.Input([8], name="the tile")
    nested = keras.Model(tile, layers.Dense(8, "relu", name="größe 1")(tile), name="a nested model")
    vector = keras.Input([8], name="my input")
    shared = layers.Dense(6, name="a dense")
    x = layers.Dense(6, "tanh", name="a_dense")(shared(vector)) + shared(nested(vector))
    x = layers.TimeDistributed(layers.Dense(4, name="each: step"), name="over time")(layers.Reshape([2, 3])(x))
    x = layers.LayerNormalization(name="_norm")(x)
    return keras.Model(vector, layers.Dense(3, "silu", name="class scores")(x), name="my model")


@architecture
def crossed_output_names(keras: Any) -> Any:
    """Outputs that are called like layers other than their last one."""
    from keras.src.ops.numpy import Add

    layers = keras.layers
    vector = keras.Input([8], name="vector")
    hidden = layers.Dense(6, "relu", name="hidden")(vector)
    boxes, scores = layers.Dense(4, name="boxes")(hidden), layers.Dense(4, name="scores")(hidden)
    flat = layers.Reshape([2, 2], name="flat")(boxes)
    total = Add(name="total")(boxes, scores)
    outputs = {"scores": boxes, "boxes": scores, "hidden": flat, "own": layers.Dense(2)(flat), "total": total * 2.0}
    return keras.Model(vector, outputs)


@architecture
def followed_outputs(keras: Any) -> Any:
    """Outputs whose activations or operations become layers or functions of their own."""
    from keras.src.ops.numpy import Argmax, Max, Multiply, Split

    layers = keras.layers
    vector = keras.Input([8], name="vector")
    letters = layers.Dense(6, "log_softmax", name="letters")(vector)
    gated = layers.Dense(6, "hard_silu", name="gated")(letters)
    doubled = Multiply(name="doubled")(gated, 2.0)
    largest = Max(axis=-1, name="largest")(layers.Dense(4, "log_softmax", name="inner")(vector))
    thirds = Split(3, axis=-1, name="thirds")(gated)
    return keras.Model(vector, [letters, doubled, largest, *thirds, Argmax(axis=-1, name="best")(letters)])


@architecture
def followed_sequential(keras: Any) -> Any:
    layers = keras.layers
    vector = keras.Input([8], name="vector")
    return keras.Sequential([vector, layers.Dense(5, "hard_tanh", name="a"), layers.Dense(4, "log_softmax", name="b")])


@architecture
def shared_layers(keras: Any) -> Any:
    layers = keras.layers
    shared, twice = layers.Dense(4, name="shared"), layers.Dense(4, name="twice")
    left, right = keras.Input([6], name="left"), keras.Input([6], name="right")
    one, other = shared(left), shared(right)
    x = twice(twice(layers.Dot(1, normalize=True)([one, other]) + layers.Multiply()([one, other])))
    return keras.Model([left, right], [x, layers.Maximum()([one, other])])


@architecture
def distributed_over_time(keras: Any) -> Any:
    layers = keras.layers
    inner = keras.Sequential([keras.Input([6, 6, 1]), layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()])
    frames = keras.Input([4, 6, 6, 1], name="frames")
    x = layers.TimeDistributed(layers.Dense(3, activation="relu"))(layers.TimeDistributed(inner)(frames))
    return keras.Model(frames, layers.GlobalAveragePooling1D()(x))


@architecture
def lstm(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input([3, 3]),
            layers.LSTM(5, return_sequences=True, dropout=0.1, recurrent_dropout=0.1),
            layers.GRU(4, unroll=True, go_backwards=True, reset_after=False),
            layers.Dense(2),
        ]
    )


@architecture
def bidirectional(keras: Any) -> Any:
    layers = keras.layers
    series = keras.Input([3, 3], name="series")
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="sum")(series)
    backward = layers.SimpleRNN(4, activation="relu", go_backwards=True)
    return keras.Model(series, layers.Bidirectional(layers.SimpleRNN(4), backward_layer=backward)(x))


@architecture
def recurrent_states(keras: Any) -> Any:
    layers = keras.layers
    series, start = keras.Input([None, 3], name="series"), keras.Input([4], name="start")
    x, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(series, initial_state=[start, start])
    return keras.Model([series, start], [layers.SimpleRNN(2)(x), h, c])


@architecture
def recurrent_cells(keras: Any) -> Any:
    layers = keras.layers
    stacked = layers.RNN([layers.LSTMCell(4), layers.GRUCell(3), layers.LSTMCell(2)], return_sequences=True)
    return keras.Sequential([keras.Input([3, 3]), stacked, layers.RNN(layers.GRUCell(3))])


@architecture
def convolutional_lstm(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential([keras.Input([3, 6, 6, 2]), layers.ConvLSTM2D(3, 3), layers.Flatten(), layers.Dense(2)])


@architecture
def masked_text(keras: Any) -> Any:
    layers = keras.layers
    words = keras.Input([3], dtype="int32", name="words")
    x = layers.SimpleRNN(4, return_sequences=True)(layers.Embedding(20, 6, mask_zero=True)(words))
    return keras.Model(words, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


@architecture
def masked_series(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [keras.Input([3, 2]), layers.Masking(0.5), layers.SimpleRNN(3), layers.Dense(2, "log_softmax")]
    )


@architecture
def transformer(keras: Any) -> Any:
    layers = keras.layers
    words = keras.Input([8], dtype="int32", name="words")
    x = layers.Embedding(30, 8)(words)
    attended = layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x, use_causal_mask=True)
    x = layers.LayerNormalization()(x + attended)
    hidden = layers.Dense(8)(layers.Dense(16, activation="gelu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, hidden]))
    return keras.Model(words, layers.Dense(30)(x))


@architecture
def cross_attention(keras: Any) -> Any:
    layers = keras.layers
    query, memory = keras.Input([4, 6], name="query"), keras.Input([7, 6], name="memory")
    x, scores = layers.MultiHeadAttention(3, 2, value_dim=4, output_shape=5)(
        query, memory, return_attention_scores=True
    )
    image = layers.Reshape([2, 2, 5])(x)
    image = layers.MultiHeadAttention(1, 3, attention_axes=(1, 2))(image, image)
    return keras.Model([query, memory], [image, scores])


@architecture
def simple_attention(keras: Any) -> Any:
    layers = keras.layers
    query, value = keras.Input([4, 6], name="query"), keras.Input([5, 6], name="value")
    one = layers.Attention(use_scale=True, score_mode="concat")([query, value])
    other = layers.AdditiveAttention()([query, value])
    return keras.Model(
        [query, value], layers.EinsumDense("btc,cd->btd", output_shape=(None, 3), bias_axes="d")(one + other)
    )


@architecture
def arithmetic(keras: Any) -> Any:
    ops, layers = keras.ops, keras.layers
    one, other = keras.Input([6], name="one"), keras.Input([6], name="other")
    x = 2.0 * one + other / 4.0 - (1.0 - one) * other
    x = ops.maximum(x, ops.minimum(one, other)) + ops.abs(x) ** 1.5
    x = ops.where(x > 1.0, ops.sqrt(ops.abs(x)), ops.exp(-ops.square(x)))
    x = ops.clip(x, 0.1, 2.5) * ops.add(one, np.arange(6, dtype=np.float32))
    return keras.Model([one, other], layers.Dense(3)(ops.log1p(ops.relu(x)) + ops.tanh(other)))


@architecture
def activations_as_operations(keras: Any) -> Any:
    ops = keras.ops
    x = keras.Input([4, 4, 3])
    found = [
        ops.relu(x), ops.relu6(x), ops.sigmoid(x), ops.silu(x), ops.gelu(x), ops.gelu(x, approximate=False), ops.elu(x),
        ops.selu(x), ops.leaky_relu(x), ops.hard_sigmoid(x), ops.hard_silu(x), ops.softplus(x), ops.softsign(x),
        ops.softmax(x), ops.log_softmax(x), ops.celu(x, 0.7), ops.log_sigmoid(x), ops.hard_tanh(x),
        ops.squareplus(x), ops.tanh_shrink(x), ops.exp(x),
    ]  # fmt: skip
    return keras.Model(x, ops.concatenate(found, axis=-1))


@architecture
def activation_layers(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input([4, 6])
    names = ["silu", "hard_silu", "hard_sigmoid", "relu6", "leaky_relu", "celu", "log_sigmoid", "squareplus",
             "softplus", "exponential"]  # fmt: skip
    found = [layers.Activation(name)(x) for name in names]
    found += [layers.ELU(0.5)(x), layers.Softmax(axis=1)(x), layers.ReLU(2.0, 0.1, 0.2)(x),
              layers.Dense(3, activation=layers.LeakyReLU(0.3))(x)]  # fmt: skip
    return keras.Model(x, layers.Concatenate()(found))


@architecture
def moves(keras: Any) -> Any:
    ops = keras.ops
    x = keras.Input([4, 6, 3])
    y = ops.transpose(ops.reshape(x, (-1, 8, 9)), (0, 2, 1))
    y = ops.concatenate(ops.split(y, [2, 5], axis=2)[::-1], axis=2)
    y = ops.pad(y, [[0, 0], [1, 0], [0, 2]])[:, 1:, ..., None]
    y = ops.squeeze(ops.expand_dims(ops.flip(y, axis=1), 1), 1)
    y = ops.stack([y, ops.moveaxis(ops.swapaxes(y, 1, 2), 1, 2)], axis=-1)
    z = ops.reshape(ops.tile(ops.repeat(x, 2, axis=1), [1, 1, 2, 1]), (-1, 288))
    return keras.Model(
        x, [y, z, ops.take(x, [0, 2], axis=2), x[:, 0, ..., -1], ops.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]])]
    )


@architecture
def reductions(keras: Any) -> Any:
    ops = keras.ops
    x = keras.Input([4, 6, 3])
    parts = [
        ops.mean(x, axis=(1, 2)), ops.mean(x, axis=(1, 2), keepdims=True)[:, 0, 0], ops.sum(x, axis=[1, 2]),
        ops.max(x, axis=(1, 2)), ops.min(x, axis=(1, 2)), ops.var(x, axis=(1, 2)), ops.prod(x[:, :2], axis=(1, 2)),
        ops.logsumexp(x, axis=(1, 2)), ops.cast(ops.argmax(x, axis=1), "float32")[:, 0],
        ops.mean(ops.average_pool(x, 2, 2), axis=(1, 2)), ops.max(ops.max_pool(x, 2, padding="same"), axis=(1, 2)),
        ops.normalize(ops.sum(x, axis=1)[:, 0], axis=-1),
    ]  # fmt: skip
    return keras.Model(x, ops.concatenate(parts, axis=-1))


@architecture
def products(keras: Any) -> Any:
    ops = keras.ops
    one, other = keras.Input([4, 6], name="one"), keras.Input([6, 5], name="other")
    x = ops.matmul(one, other) - 0.1 * ops.einsum("bij,bjk->bik", ops.square(one), other)
    picked = ops.one_hot(ops.argmax(x, axis=-1), 5) * x
    sums = ops.sum(picked, axis=-1) * ops.cast(ops.greater(x[..., 0], 0.0), "float32")
    return keras.Model([one, other], sums + ops.einsum("bjk,bik->bi", other, x) + ops.full_like(sums, 0.5))


@architecture
def images(keras: Any) -> Any:
    ops, layers = keras.ops, keras.layers
    x = keras.Input([8, 8, 3], name="image")
    y = layers.Resizing(6, 6)(layers.CenterCrop(6, 7)(x))
    y = ops.image.resize(y, (4, 4), interpolation="nearest")
    return keras.Model(x, ops.depth_to_space(ops.concatenate([y, y[..., :1]], -1), 2))


@architecture
def augmentation(keras: Any) -> Any:
    layers = keras.layers
    steps = [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.GaussianNoise(0.2)]
    return keras.Sequential([keras.Input([8, 8, 3]), *steps, layers.Conv2D(2, 3), layers.SpatialDropout2D(0.2)])


@architecture
def frozen_backbone(keras: Any) -> Any:
    layers = keras.layers
    backbone = keras.Sequential([keras.Input([8, 8, 3]), layers.Conv2D(4, 3), layers.BatchNormalization()])
    backbone.trainable = False
    image = keras.Input([8, 8, 3], name="image")
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(backbone(image))))


@architecture
def fixed_batch(keras: Any) -> Any:
    image = keras.Input(batch_shape=(3, 4, 4, 1), name="image")
    return keras.Model(image, keras.layers.Conv2D(2, 3, groups=1, activation="relu")(image))


@architecture
def registered(keras: Any) -> Any:
    from keras3_task_layer import Scaled

    x = keras.Input([3], name="x")
    return keras.Model(x, Scaled(0.5, name="scaled")(x))


def shaped(keras: Any, tensor: Any, generator: Any) -> Any:
    shape = [tensor.shape[0] or 3, *(size or 5 for size in tensor.shape[1:])]
    if "int" in tensor.dtype:
        return generator.integers(0, 12, size=shape).astype(tensor.dtype)
    return generator.normal(size=shape).astype(np.float32)


def main(folder: Path) -> None:
    os.environ |= {"TF_USE_LEGACY_KERAS": "0", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import keras

    only = sys.argv[2:]
    for name in [*BUILT, *FAMILIES]:
        if only and name not in only:
            continue
        keras.utils.set_random_seed(1)
        model = shortened(keras, family(keras, name)) if name in FAMILIES else BUILT[name](keras)
        generator = np.random.default_rng(2)
        for variable in model.variables:
            # Biases, means, and variances start at 0 or 1, and a swap of them would not show.
            if variable.dtype == "float32" and min(variable.shape, default=0) and len(variable.shape) == 1:
                variable.assign(np.abs(variable + generator.normal(0, 0.2, variable.shape)))
        for layer in model.layers:
            if hasattr(layer, "finalize_state"):
                layer.finalize_state()
        inputs = [shaped(keras, tensor, generator) for tensor in model.inputs]
        sequential = isinstance(model, keras.Sequential)
        result = model(inputs[0] if sequential else keras.tree.pack_sequence_as(model.input, inputs), training=False)
        arrays = {f"input{index}": array for index, array in enumerate(inputs)}
        arrays |= {f"output{index}": np.asarray(one) for index, one in enumerate(keras.tree.flatten(result))}
        np.savez(folder / f"{name}.npz", **arrays)
        model.save(folder / f"{name}.keras")
        if name in IN_HDF5:
            model.save(folder / f"{name}.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
