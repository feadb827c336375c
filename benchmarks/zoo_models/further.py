"""Blocks of other real models: custom layers, nested and shared models, signal front ends, and sequence lengths."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo_models.entry import ZooModel


def _head(k: Any, x: Any, classes: int = 4) -> Any:
    return k.layers.Dense(classes, name="scores")(x)


def _pooled(k: Any, x: Any) -> Any:
    return _head(k, k.layers.GlobalAveragePooling2D()(x))


def inverted_residual(k: Any) -> Any:
    """A block of EfficientNet-Lite: expansion, depthwise convolution, squeeze and excitation, and a dropped branch."""
    layers = k.layers
    image = k.Input([16, 16, 8], name="image")
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(32, 1, use_bias=False)(image)))
    x = layers.DepthwiseConv2D(5, padding="same", use_bias=False)(layers.ZeroPadding2D(1)(x))
    x = layers.Cropping2D(1)(layers.ReLU(6.0)(layers.BatchNormalization()(x)))
    gate = layers.Reshape((1, 1, 32))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Dense(32, "sigmoid")(layers.Dense(8, "swish")(gate))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(layers.Multiply()([x, gate])))
    x = layers.Add()([image, layers.Dropout(0.2, noise_shape=(None, 1, 1, 1))(x)])
    return k.Model(image, _pooled(k, x))


def channel_shuffle(k: Any) -> Any:
    """A unit of ShuffleNet: grouped convolutions, and a shuffle by reshaping and transposing."""
    import tensorflow as tf

    layers = k.layers
    image = k.Input([8, 8, 16], name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 1, groups=4)(image)))
    x = tf.reshape(tf.transpose(tf.reshape(x, [-1, 8, 8, 4, 4]), [0, 1, 2, 4, 3]), [-1, 8, 8, 16])
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    left, right = tf.split(x, 2, axis=-1)
    return k.Model(image, _pooled(k, layers.Concatenate()([left, layers.Conv2D(8, 1)(right)])))


def atrous_pyramid(k: Any) -> Any:
    """The pyramid of DeepLab: dilated convolutions and a pooled image, joined and resized."""
    import tensorflow as tf

    layers = k.layers
    image = k.Input([16, 16, 3], name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(image)
    ways = [layers.Conv2D(8, 3, dilation_rate=rate, padding="same", activation="relu")(x) for rate in (1, 2, 4)]
    pooled = layers.Conv2D(8, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    ways.append(layers.UpSampling2D(8, interpolation="bilinear")(pooled))
    x = layers.Conv2D(4, 1)(layers.Concatenate()(ways))
    return k.Model(image, tf.image.resize(x, [16, 16]))


def spatial_attention(k: Any) -> Any:
    """The block of CBAM: pooling over the channels by operations."""
    import tensorflow as tf

    layers = k.layers
    image = k.Input([12, 12, 3], name="image")
    x = layers.SpatialDropout2D(0.1)(layers.Conv2D(16, 3, padding="same", activation="relu")(image))
    both = [tf.reduce_mean(x, -1, keepdims=True), tf.reduce_max(x, -1, keepdims=True)]
    gate = layers.Conv2D(1, 5, padding="same", activation="sigmoid")(layers.Concatenate()(both))
    return k.Model(image, _pooled(k, x * gate))


def two_views(k: Any) -> Any:
    """One nested Sequential for two images, whose embeddings are compared by their distance."""
    import tensorflow as tf

    layers = k.layers
    shape = [12, 12, 1]
    tower = k.Sequential(
        [k.Input(shape), layers.Conv2D(12, 3, activation="relu"), layers.BatchNormalization(), layers.Flatten(),
         layers.Dense(16)], name="tower",
    )  # fmt: skip
    left, right = k.Input(shape, name="left"), k.Input(shape, name="right")
    distance = tf.reduce_sum(tf.square(tower(left) - tower(right)), -1, keepdims=True)
    return k.Model([left, right], layers.Dense(1, "sigmoid", name="same")(distance))


def subclassed_inside(k: Any) -> Any:
    """A registered custom layer that contains other layers, in a functional model."""
    layers = k.layers
    register = k.utils.register_keras_serializable("zoo")

    @register
    class Block(layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, width: int, **options: Any) -> None:
            super().__init__(**options)
            self.width = width
            self.first, self.second = layers.Dense(width, "relu"), layers.Dense(width)

        def call(self, inputs: Any) -> Any:
            return inputs + self.second(self.first(inputs))

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "width": self.width}

    vector = k.Input([16], name="vector")
    return k.Model(vector, _head(k, Block(32, name="block")(layers.Dense(32)(vector))))


def residual_gru(k: Any) -> Any:
    layers = k.layers
    series = k.Input([12, 6], name="series")
    x = layers.Dense(16)(series)
    for _ in range(2):
        x = layers.Add()([x, layers.GRU(16, return_sequences=True)(x)])
    return k.Model(series, _head(k, layers.GlobalMaxPooling1D()(x)))


def returned_states(k: Any) -> Any:
    """An encoder whose last states start a decoder."""
    layers = k.layers
    series = k.Input([8, 6], name="series")
    _, h, c = layers.LSTM(16, return_state=True)(series)
    x = layers.LSTM(16, return_sequences=True)(layers.RepeatVector(5)(h), initial_state=[h, c])
    return k.Model(series, _head(k, x))


def stacked_cells(k: Any) -> Any:
    layers = k.layers
    cells = layers.RNN([layers.LSTMCell(12), layers.LSTMCell(12)])
    return k.Sequential([k.Input([8, 6], name="series"), cells, layers.Dense(3)])


def attention_pooling(k: Any) -> Any:
    """Weights from a dense layer, and the sum of the weighted time steps by operations."""
    import tensorflow as tf

    layers = k.layers
    series = k.Input([10, 6], name="series")
    x = layers.Conv1D(16, 3, padding="causal", activation="relu")(series)
    weights = tf.nn.softmax(layers.Dense(1)(layers.Dense(8, "tanh")(x)), axis=1)
    return k.Model(series, _head(k, tf.reduce_sum(x * weights, axis=1)))


def pre_norm_decoder(k: Any) -> Any:
    """Two blocks of a decoder: normalization first, causal attention, and learned positions."""
    import tensorflow as tf

    layers = k.layers
    ids = k.Input([8], dtype="int32", name="ids")
    x = layers.Embedding(30, 16)(ids) + layers.Embedding(8, 16)(tf.range(8))
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(2, 8)(y, y, use_causal_mask=True)
        y = layers.LayerNormalization()(x)
        x = x + layers.Dense(16)(layers.Dense(32, "gelu")(y))
    return k.Model(ids, layers.Dense(30, name="next")(layers.LayerNormalization()(x)))


def class_token(k: Any) -> Any:
    """A transformer of patches with a class token, as in ViT."""
    import tensorflow as tf

    layers = k.layers
    image = k.Input([16, 16, 3], name="image")
    x = layers.Reshape((16, 16))(layers.Conv2D(16, 4, strides=4)(image))
    token = layers.Dense(16, use_bias=False, name="token")(tf.ones_like(x[:, :1, :1]))
    x = layers.Concatenate(axis=1)([token, x])
    y = layers.LayerNormalization()(x)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(y, y))
    return k.Model(image, _head(k, x[:, 0]))


def einsum_layers(k: Any) -> Any:
    """Attention of EinsumDense layers, as in the libraries of language models."""
    import tensorflow as tf

    layers = k.layers
    series = k.Input([8, 16], name="series")
    q, v = (layers.EinsumDense("abc,cde->abde", [None, 2, 8], bias_axes="de")(series) for _ in range(2))
    q, v = (tf.transpose(each, [0, 2, 1, 3]) for each in (q, v))
    x = tf.matmul(tf.nn.softmax(tf.matmul(q, v, transpose_b=True) * 0.35), v)
    x = layers.EinsumDense("abcd,cde->abe", [None, 16], bias_axes="e")(tf.transpose(x, [0, 2, 1, 3]))
    return k.Model(series, _head(k, layers.Add()([series, x])))


def learned_front_end(k: Any) -> Any:
    """Audio through strided convolutions, a squeeze, and dilated blocks."""
    import tensorflow as tf

    layers = k.layers
    audio = k.Input([256], name="audio")
    x = layers.Conv1D(16, 16, strides=8, activation="relu")(tf.expand_dims(audio, -1))
    x = layers.Conv1D(16, 3, dilation_rate=2, padding="same", activation="swish")(layers.BatchNormalization()(x))
    return k.Model(audio, _head(k, tf.reduce_mean(x, 1)))


def mixed_inputs(k: Any) -> Any:
    """Numbers, a category with an Embedding, and flags as bytes."""
    import tensorflow as tf

    layers = k.layers
    vector, kind = k.Input([6], name="vector"), k.Input([2], dtype="int32", name="kind")
    flags = k.Input([4], dtype="uint8", name="flags")
    x = layers.Concatenate()([vector, layers.Flatten()(layers.Embedding(10, 8)(kind)), tf.cast(flags, tf.float32)])
    return k.Model([vector, kind, flags], layers.Dense(1, "sigmoid", name="risk")(layers.Dense(32, "relu")(x)))


def reversed_slices(k: Any) -> Any:
    """A series and its reverse: slices with negative steps."""
    layers = k.layers
    series = k.Input([12, 6], name="series")
    x = layers.Conv1D(16, 3, activation="relu")(series)
    x = layers.Concatenate()([x[:, ::-1, :], x[:, :, ::-1], x])
    return k.Model(series, _head(k, x[:, -1:0:-3]))


def flipped(k: Any) -> Any:
    import tensorflow as tf

    image = k.Input([12, 12, 3], name="image")
    x = k.layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    return k.Model(image, _pooled(k, k.layers.Maximum()([x, tf.reverse(x, [2])])))


def padded(k: Any) -> Any:
    """Reflected and constant padding by operations, as in image translation."""
    import tensorflow as tf

    image = k.Input([12, 12, 3], name="image")
    x = k.layers.Conv2D(16, 3, activation="relu")(tf.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT"))
    x = k.layers.Conv2D(8, 3)(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))
    return k.Model(image, _pooled(k, x))


def instance_normalized(k: Any) -> Any:
    """Normalization of each channel of each image, with a stride and a transposed convolution."""
    layers = k.layers
    image = k.Input([16, 16, 3], name="image")
    x = layers.ReLU()(layers.GroupNormalization(-1)(layers.Conv2D(16, 3, strides=2, padding="same")(image)))
    x = layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="tanh", name="picture")(x)
    return k.Model(image, x)


def video(k: Any) -> Any:
    """A nested backbone on each frame, then a recurrent layer."""
    layers = k.layers
    frame = k.Input([12, 12, 1])
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2)(frame)))
    backbone = k.Model(frame, layers.GlobalAveragePooling2D()(x), name="backbone")
    clip = k.Input([4, 12, 12, 1], name="clip")
    return k.Model(clip, _head(k, layers.GRU(12)(layers.TimeDistributed(backbone)(clip))))


def highway(k: Any) -> Any:
    """Gates and their complements: `g * h + (1 - g) * x`."""
    layers = k.layers
    vector = x = k.Input([24], name="vector")
    for _ in range(2):
        gate = layers.Dense(24, "sigmoid")(x)
        x = gate * layers.Dense(24, "relu")(x) + (1.0 - gate) * x
    return k.Model(vector, _head(k, x))


def factorized(k: Any) -> Any:
    """A factorization machine: half of the squared sum minus the sum of squares."""
    import tensorflow as tf

    layers = k.layers
    ids = k.Input([5], dtype="int32", name="ids")
    x = layers.Embedding(40, 8)(ids)
    pairs = 0.5 * (tf.square(tf.reduce_sum(x, 1)) - tf.reduce_sum(tf.square(x), 1))
    return k.Model(ids, layers.Dense(1, "sigmoid", name="click")(layers.Concatenate()([pairs, layers.Flatten()(x)])))


def quantile_heads(k: Any) -> Any:
    """Outputs that grow: a sum of softplus terms, stacked."""
    import tensorflow as tf

    layers = k.layers
    vector = k.Input([12], name="vector")
    x = layers.Dense(32, "relu")(vector)
    low, steps = layers.Dense(1)(x), layers.Dense(2, "softplus")(x)
    return k.Model(vector, tf.concat([low, low + steps[:, :1], low + steps[:, :1] + steps[:, 1:]], -1))


def dict_of_outputs(k: Any) -> Any:
    """Outputs in a dictionary."""
    layers = k.layers
    vector = k.Input([12], name="vector")
    x = layers.Dense(24, "relu")(vector)
    return k.Model(vector, {"kind": layers.Dense(3, "softmax")(x), "amount": layers.Dense(1)(x)})


def vectorized_text(k: Any) -> Any:
    """Text, which a layer of the model splits into words."""
    layers = k.layers
    text = k.Input([1], dtype="string", name="text")
    words = layers.TextVectorization(output_sequence_length=6, vocabulary=["good", "bad", "film"])(text)
    return k.Model(text, _head(k, layers.GlobalAveragePooling1D()(layers.Embedding(8, 8)(words))))


_WORDS = {"pre_norm_decoder": 30, "factorized": 40, "mixed_inputs": 2}
_ALL = (
    inverted_residual, channel_shuffle, atrous_pyramid, spatial_attention, two_views, subclassed_inside, residual_gru,
    returned_states, stacked_cells, attention_pooling, pre_norm_decoder, class_token, einsum_layers,
    learned_front_end, mixed_inputs, reversed_slices, flipped, padded, instance_normalized, video,
    highway, factorized, quantile_heads, dict_of_outputs, vectorized_text,
)  # fmt: skip
MODELS = tuple(ZooModel(build.__name__, "further blocks", build, high=_WORDS.get(build.__name__)) for build in _ALL)
