"""Models of kinds that are rare: hypernetworks, learned queries, densities, recursions, and gates."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo_models import inputs
from benchmarks.zoo_models.entry import ZooModel


def masked_unrolled_gru(k: Any) -> Any:
    """A masked layer that is unrolled, so that the converter accepts the mask."""
    series = inputs.series(k, 6)
    x = k.layers.GRU(12, unroll=True)(k.layers.Masking(-9.0)(series))
    return k.Model(series, k.layers.Dense(4)(x))


def masked_unrolled_lstm(k: Any) -> Any:
    ids = k.Input([6], dtype="int32", name="ids")
    x = k.layers.LSTM(12, unroll=True)(k.layers.Embedding(20, 8, mask_zero=True)(ids))
    return k.Model(ids, k.layers.Dense(4)(x))


def hypernetwork(k: Any) -> Any:
    """One network computes the weights of another."""
    vector, context = inputs.vector(k), k.Input([6], name="context")
    kernel = k.layers.Reshape((12, 8))(k.layers.Dense(96, "tanh")(context))
    x = k.layers.Dot((1, 1))([vector, kernel])
    return k.Model([vector, context], k.layers.Dense(4)(k.layers.ReLU()(x)))


def fourier_transform(k: Any) -> Any:
    """A Fourier transform in the model, as a function of TensorFlow, which layers don't call."""
    import tensorflow as tf

    class Network(k.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.head = k.layers.Dense(16, "relu"), k.layers.Dense(4)

        def call(self, audio: Any) -> Any:
            return self.head(self.hidden(tf.abs(tf.signal.rfft(audio))))

    model = Network()
    model(tf.zeros([1, 256]))
    return model


def fourier_mixing(k: Any) -> Any:
    """A transformer whose positions are mixed by a Fourier transform, as products with constants, as in FNet."""
    import numpy as np
    import tensorflow as tf

    def waves(size: int) -> tuple[Any, Any]:
        turns = 2 * np.pi * np.outer(np.arange(size), np.arange(size)) / size
        return np.cos(turns).astype(np.float32), np.sin(turns).astype(np.float32)

    x = series = inputs.series(k, 16)
    (cos, sin), (cos_of_width, sin_of_width) = waves(16), waves(8)
    for _ in range(2):
        along = tf.matmul(cos, tf.matmul(x, cos_of_width)) - tf.matmul(sin, tf.matmul(x, sin_of_width))
        x = k.layers.LayerNormalization()(x + 0.1 * along)
        x = k.layers.LayerNormalization()(x + k.layers.Dense(8)(k.layers.Dense(16, "gelu")(x)))
    return k.Model(series, k.layers.Dense(3)(k.layers.GlobalAveragePooling1D()(x)))


def latents(k: Any) -> Any:
    """Learned vectors that attend to the inputs, as in Perceiver."""
    import numpy as np
    import tensorflow as tf

    series = inputs.series(k, 16)
    learned = np.random.default_rng(1).normal(size=(1, 4, 8)).astype(np.float32)
    queries = tf.tile(learned, [tf.shape(series)[0], 1, 1])
    x = k.layers.MultiHeadAttention(2, 4)(queries, series)
    x = k.layers.LayerNormalization()(x + k.layers.Dense(8, "gelu")(x))
    return k.Model(series, k.layers.Dense(3)(tf.reduce_mean(x, 1)))


def windows(k: Any) -> Any:
    """Attention in windows that overlap."""
    import tensorflow as tf

    series = inputs.series(k, 16)
    frames = tf.stack([series[:, start : start + 4] for start in range(0, 13, 2)], 1)
    scores = tf.matmul(frames, frames, transpose_b=True) * 0.35
    x = tf.reshape(tf.matmul(tf.nn.softmax(scores), frames), [-1, 28, 8])
    return k.Model(series, k.layers.Dense(3)(tf.reduce_max(x, 1)))


def linear_attention(k: Any) -> Any:
    """Attention without a softmax, with positive features."""
    import tensorflow as tf

    series = inputs.series(k)
    query, key = (tf.nn.elu(k.layers.Dense(6)(series)) + 1.0 for _ in range(2))
    memory = tf.matmul(key, k.layers.Dense(8)(series), transpose_a=True) * (1 / 12)
    return k.Model(series, k.layers.Dense(3)(tf.reduce_mean(tf.matmul(query, memory), 1)))


def label_scores(k: Any) -> Any:
    """The forward recursion of a conditional random field, step by step."""
    import numpy as np
    import tensorflow as tf

    series = inputs.series(k, 6)
    emitted = k.layers.Dense(4)(series)
    moves = np.random.default_rng(2).normal(0, 0.5, (1, 4, 4)).astype(np.float32)
    scores = emitted[:, 0]
    for step in range(1, 6):
        scores = tf.reduce_max(scores[:, :, None] + moves, 1) + emitted[:, step]
    return k.Model(series, scores)


def mixture_density(k: Any) -> Any:
    """Weights, means, and positive deviations of a mixture as separate outputs."""
    vector = inputs.vector(k)
    x = k.layers.Dense(24, "relu")(vector)
    return k.Model(
        vector,
        [k.layers.Dense(3, "softmax", name="weights")(x), k.layers.Dense(3, name="means")(x),
         k.layers.Dense(3, "softplus", name="deviations")(x)],
    )  # fmt: skip


def euler_steps(k: Any) -> Any:
    """One layer applied repeatedly, as in a differential equation that is solved in steps."""
    vector = inputs.vector(k, 8)
    inner, outer = k.layers.Dense(16, "tanh"), k.layers.Dense(8)
    x = vector
    for _ in range(4):
        x = x + 0.25 * outer(inner(x))
    return k.Model(vector, x)


def ordinal(k: Any) -> Any:
    """Cumulative probabilities of ordered classes, and their products."""
    import tensorflow as tf

    vector = inputs.vector(k)
    steps = k.layers.Dense(4, "sigmoid")(k.layers.Dense(16, "relu")(vector))
    total = steps[:, :1]
    reached = [total]
    for index in range(1, 4):
        total = total * steps[:, index : index + 1]
        reached.append(total)
    return k.Model(vector, tf.concat(reached, 1))


def best_two(k: Any) -> Any:
    """The scores and the numbers of the best classes."""
    import tensorflow as tf

    vector = inputs.vector(k)
    scores, classes = tf.math.top_k(k.layers.Dense(6, "softmax")(vector), 2)
    return k.Model(vector, {"scores": scores, "classes": classes})


def spaced_names(k: Any) -> Any:
    """Names with spaces and letters that scopes don't accept, as people write them in Keras 3."""
    vector = k.Input([8], name="my input")
    x = k.layers.Dense(16, "relu", name="größte Schicht")(vector)
    return k.Model(vector, k.layers.Dense(3, name="class scores")(x), name="my model")


def loop_in_a_module(k: Any) -> Any:  # noqa: ARG001
    """A `tf.Module` with a TensorFlow loop."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(tf.random.stateless_normal([8, 8], [1, 2]) * 0.3)

    @tf.function(input_signature=[tf.TensorSpec([1, 8], tf.float32, "vector")])
    def serve(vector: Any) -> Any:
        for _ in tf.range(3):
            vector = tf.tanh(vector @ module.kernel)
        return {"state": vector}

    module.serve = serve
    return module, serve


def generator(k: Any) -> Any:
    """The generator of an adversarial network."""
    layers = k.layers
    noise = k.Input([16], name="noise")
    x = layers.Reshape((4, 4, 16))(layers.Dense(256, use_bias=False)(noise))
    x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x))
    x = layers.Conv2DTranspose(8, 4, strides=2, padding="same", use_bias=False)(x)
    x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x))
    return k.Model(noise, layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="tanh")(x))


def attention_gate(k: Any) -> Any:
    """A U-Net skip connection that a coarser level gates, with bilinear upsampling."""
    layers = k.layers
    image = inputs.image(k)
    skip = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    low = layers.Conv2D(12, 3, strides=2, padding="same", activation="relu")(skip)
    up = layers.UpSampling2D(2, interpolation="bilinear")(low)
    gate = layers.Conv2D(1, 1, activation="sigmoid")(layers.ReLU()(layers.Conv2D(8, 1)(skip) + layers.Conv2D(8, 1)(up)))
    return k.Model(image, layers.Conv2D(2, 1)(layers.Concatenate()([skip * gate, up])))


def coordinates(k: Any) -> Any:
    """Coordinates as additional channels, as in CoordConv."""
    import numpy as np
    import tensorflow as tf

    image = inputs.image(k)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 16)] * 2), -1)[None].astype(np.float32)
    x = tf.concat([image, tf.ones_like(image[:, :, :, :1]) * grid], -1)
    x = k.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    return k.Model(image, k.layers.Dense(4)(k.layers.GlobalMaxPooling2D()(x)))


def maxout(k: Any) -> Any:
    """The largest of several linear units, and a pyramid of pools."""
    import tensorflow as tf

    image = inputs.image(k)
    x = k.layers.Conv2D(12, 3, padding="same")(image)
    x = tf.reduce_max(tf.reshape(x, [-1, 16, 16, 6, 2]), -1)
    pools = [k.layers.Flatten()(k.layers.MaxPooling2D(size)(x)) for size in (4, 8, 16)]
    return k.Model(image, k.layers.Dense(4)(k.layers.Concatenate()(pools)))


def blurred_pool(k: Any) -> Any:
    """A depthwise convolution with a constant kernel before each stride, and a depth multiplier."""
    import numpy as np
    import tensorflow as tf

    image = inputs.image(k)
    x = k.layers.DepthwiseConv2D(3, depth_multiplier=3, padding="same", activation="relu")(image)
    kernel = np.outer([1, 2, 1], [1, 2, 1])[..., None, None] / 16 * np.ones([1, 1, 9, 1])
    x = tf.nn.depthwise_conv2d(x, kernel.astype(np.float32), [1, 2, 2, 1], "SAME")
    return k.Model(image, k.layers.Dense(4)(k.layers.GlobalAveragePooling2D()(x)))


_ALL = (
    masked_unrolled_gru,
    hypernetwork,
    fourier_mixing,
    latents,
    windows,
    linear_attention,
    label_scores,
    mixture_density,
    euler_steps,
    ordinal,
    best_two,
    generator,
    attention_gate,
    coordinates,
    maxout,
    blurred_pool,
)
_KIND = "rare"
MODELS = (
    *(ZooModel(build.__name__, _KIND, build) for build in _ALL),
    ZooModel("fourier_transform", _KIND, fourier_transform, "subclassed"),
    ZooModel("masked_unrolled_lstm", _KIND, masked_unrolled_lstm, high=20),
    ZooModel("spaced_names", _KIND, spaced_names, "keras3"),
    ZooModel("loop_in_a_module", _KIND, loop_in_a_module, "graph"),
)
