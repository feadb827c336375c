"""Models of the kinds that users bring: custom layers, states, names, and heads that decode."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo_models.entry import ZooModel


def _head(k: Any, x: Any, classes: int = 4) -> Any:
    return k.layers.Dense(classes, name="scores")(x)


def rms_normalized(k: Any) -> Any:
    """A registered custom layer with its own weight, around a residual block."""
    import tensorflow as tf

    @k.utils.register_keras_serializable("zoo")
    class RMSNorm(k.layers.Layer):  # type: ignore[misc, name-defined]
        def build(self, shape: Any) -> None:
            self.gain = self.add_weight(name="gain", shape=(shape[-1],), initializer="ones")
            super().build(shape)

        def call(self, inputs: Any) -> Any:
            mean = tf.reduce_mean(tf.square(inputs), -1, keepdims=True)
            return inputs * tf.math.rsqrt(mean + 1e-3) * self.gain

    series = k.Input([8, 16], name="series")
    x = series + k.layers.Dense(16)(RMSNorm(name="first")(series))
    return k.Model(series, _head(k, k.layers.Flatten()(RMSNorm(name="last")(x))))


def sampling_autoencoder(k: Any) -> Any:
    """A variational autoencoder, whose custom layer draws samples only in training."""
    import tensorflow as tf

    @k.utils.register_keras_serializable("zoo")
    class Sampling(k.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any, training: Any = None) -> Any:
            mean, spread = inputs
            return mean + tf.exp(0.5 * spread) * tf.random.normal(tf.shape(mean)) if training else mean

    layers = k.layers
    vector = k.Input([16], name="vector")
    x = layers.Dense(24, "relu")(vector)
    z = Sampling(name="sampling")([layers.Dense(4, name="mean")(x), layers.Dense(4, name="spread")(x)])
    return k.Model(vector, layers.Dense(16, name="rebuilt")(layers.Dense(24, "relu")(z)))


def own_activation(k: Any) -> Any:
    import tensorflow as tf

    @k.utils.register_keras_serializable("zoo")
    def squared_relu(x: Any) -> Any:
        return tf.square(tf.nn.relu(x))

    vector = k.Input([12], name="vector")
    x = k.layers.Activation(squared_relu)(k.layers.Dense(24)(vector))
    return k.Model(vector, _head(k, k.layers.Dense(32, squared_relu)(x)))


def shifted_windows(k: Any) -> Any:
    """Two blocks of a Swin transformer: attention in windows, the second time shifted by a roll."""
    import tensorflow as tf

    layers = k.layers
    image = k.Input([16, 16, 3], name="image")
    x = layers.Conv2D(16, 2, strides=2)(image)
    for shift in (0, 2):
        y = layers.LayerNormalization()(x)
        y = tf.roll(y, [-shift, -shift], axis=[1, 2]) if shift else y
        y = tf.reshape(tf.transpose(tf.reshape(y, [-1, 2, 4, 2, 4, 16]), [0, 1, 3, 2, 4, 5]), [-1, 16, 16])
        y = layers.MultiHeadAttention(2, 8)(y, y)
        y = tf.reshape(tf.transpose(tf.reshape(y, [-1, 2, 2, 4, 4, 16]), [0, 1, 3, 2, 4, 5]), [-1, 8, 8, 16])
        x = x + (tf.roll(y, [shift, shift], axis=[1, 2]) if shift else y)
        x = x + layers.Dense(16)(layers.Dense(32, "gelu")(layers.LayerNormalization()(x)))
    return k.Model(image, _head(k, layers.GlobalAveragePooling2D()(x)))


def folded_patches(k: Any) -> Any:
    """A block of MobileViT: convolutions, attention over the patches, and convolutions again."""
    import tensorflow as tf

    layers = k.layers
    image = k.Input([16, 16, 3], name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="swish")(image)
    y = tf.reshape(layers.Conv2D(16, 1)(x), [-1, 4, 2, 4, 2, 16])
    y = tf.reshape(tf.transpose(y, [0, 2, 4, 1, 3, 5]), [-1, 4, 16, 16])
    z = layers.LayerNormalization()(y)
    y = layers.Add()([y, layers.MultiHeadAttention(2, 8)(z, z)])
    y = tf.transpose(tf.reshape(y, [-1, 2, 2, 4, 4, 16]), [0, 3, 1, 4, 2, 5])
    x = layers.Concatenate()([x, layers.Conv2D(16, 1)(tf.reshape(y, [-1, 8, 8, 16]))])
    return k.Model(image, _head(k, layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, activation="swish")(x))))


def question_and_context(k: Any) -> Any:
    """Three kinds of attention from one input to another."""
    layers = k.layers
    question, context = k.Input([6, 16], name="question"), k.Input([10, 16], name="context")
    both = [
        layers.Attention(use_scale=True)([question, context]),
        layers.AdditiveAttention()([context, question]),
        layers.MultiHeadAttention(2, 8)(question, context, context),
    ]
    return k.Model([question, context], _head(k, layers.Concatenate()([layers.Flatten()(x) for x in both])))


def read_states(k: Any) -> Any:
    """Both directions of an LSTM and the last hidden states, which the model joins."""
    layers = k.layers
    series = k.Input([8, 4], name="series")
    x, forward, _, backward, _ = layers.Bidirectional(layers.LSTM(8, return_sequences=True, return_state=True))(series)
    pooled = layers.GlobalAveragePooling1D()(layers.Dense(16)(x))
    return k.Model(series, _head(k, layers.Concatenate()([pooled, forward, backward])))


def stacked_gru_cells(k: Any) -> Any:
    layers = k.layers
    series = k.Input([8, 4], name="series")
    return k.Model(series, _head(k, layers.RNN([layers.GRUCell(12), layers.GRUCell(10)])(series)))


def stateful_gru(k: Any) -> Any:
    series = k.Input([8, 4], batch_size=1, name="series")
    return k.Model(series, _head(k, k.layers.GRU(12, stateful=True)(series)))


def unrolled_lstm(k: Any) -> Any:
    series = k.Input([6, 4], name="series")
    return k.Model(series, _head(k, k.layers.LSTM(12, unroll=True)(series)))


def cosine(k: Any) -> Any:
    """The cosine of two embeddings of one nested model."""
    layers = k.layers
    tower = k.Sequential([k.Input([12]), layers.Dense(16, "relu"), layers.Dense(8)], name="tower")
    left, right = k.Input([12], name="left"), k.Input([12], name="right")
    return k.Model([left, right], layers.Dot(1, normalize=True, name="cosine")([tower(left), tower(right)]))


def normalized_over_time(k: Any) -> Any:
    """Normalizations along the time axis, and of each example."""
    layers = k.layers
    series = k.Input([8, 16], name="series")
    x = layers.BatchNormalization(axis=1)(layers.LayerNormalization(axis=1)(layers.Dense(16)(series)))
    return k.Model(series, _head(k, layers.Flatten()(layers.LayerNormalization(axis=[1, 2])(x))))


def spread_pooling(k: Any) -> Any:
    """Means and standard deviations over time, as in models of speakers."""
    import tensorflow as tf

    series = k.Input([10, 6], name="series")
    x = k.layers.Conv1D(16, 3, activation="tanh")(series)
    return k.Model(series, _head(k, tf.concat([tf.reduce_mean(x, 1), tf.math.reduce_std(x, 1)], -1)))


def anchored_boxes(k: Any) -> Any:
    """A detector that adds its anchors to the boxes and clips them."""
    import numpy as np
    import tensorflow as tf

    layers = k.layers
    image = k.Input([32, 32, 3], name="image")
    x = layers.Conv2D(16, 3, strides=4, padding="same", activation="relu")(image)
    y = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    boxes = layers.Concatenate(axis=1)(
        [layers.Reshape((-1, 4))(layers.Conv2D(8, 3, padding="same")(z)) for z in (x, y)]
    )
    scores = layers.Concatenate(axis=1)(
        [layers.Reshape((-1, 3))(layers.Conv2D(6, 3, padding="same")(z)) for z in (x, y)]
    )
    anchors = np.random.RandomState(0).rand(1, 160, 4).astype("float32")
    centers = boxes[:, :, :2] * anchors[..., 2:] + anchors[..., :2]
    sizes = tf.exp(tf.minimum(boxes[:, :, 2:], 2.0)) * anchors[..., 2:] * 0.5
    return k.Model(image, {"boxes": tf.concat([centers - sizes, centers + sizes], -1), "scores": tf.sigmoid(scores)})


def soft_argmax(k: Any) -> Any:
    """Keypoints as the mean position of each heatmap."""
    import numpy as np
    import tensorflow as tf

    layers = k.layers
    image = k.Input([32, 32, 3], name="image")
    x = layers.SeparableConv2D(16, 3, strides=2, padding="same", activation="relu")(image)
    heat = layers.Softmax(axis=-1)(tf.transpose(tf.reshape(layers.Conv2D(5, 1)(x), [-1, 256, 5]), [0, 2, 1]))
    places = np.stack(np.meshgrid(np.linspace(0, 1, 16), np.linspace(0, 1, 16)), -1).reshape(256, 2).astype("float32")
    return k.Model(image, tf.matmul(heat, places))


def odd_names(k: Any) -> Any:
    """Names with slashes, dots, and dashes, as in models that other tools wrote."""
    layers = k.layers
    vector = k.Input([8], name="in.put-0")
    x = layers.Dense(16, "relu", name="block/dense-1")(vector)
    return k.Model(vector, layers.Dense(3, name="head/scores.1")(x), name="my/model-1")


def one_layer_twice(k: Any) -> Any:
    """One layer returns two outputs, and one of them is an output twice."""
    layers = k.layers
    left, right = k.Input([8], name="left"), k.Input([8], name="right")
    shared = layers.Dense(3, name="scores")
    return k.Model([left, right], [shared(left), shared(right), shared(left)])


_ALL = (
    rms_normalized, sampling_autoencoder, own_activation, shifted_windows, folded_patches, question_and_context,
    read_states, stacked_gru_cells, stateful_gru, unrolled_lstm, cosine, normalized_over_time, spread_pooling,
    anchored_boxes, soft_argmax, odd_names, one_layer_twice,
)  # fmt: skip
MODELS = tuple(ZooModel(build.__name__, "brought by users", build) for build in _ALL)
