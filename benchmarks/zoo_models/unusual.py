"""Models of kinds that are less common: routing, normalizing flows, codebooks, graphs, and spectra."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo_models import inputs
from benchmarks.zoo_models.entry import ZooModel


def gru_of_a_state(k: Any) -> Any:
    """A GRU whose reset comes first, from a state that the model computes."""
    series, context = inputs.series(k), k.Input([6], name="context")
    x = k.layers.GRU(12, reset_after=False)(series, initial_state=k.layers.Dense(12, "tanh")(context))
    return k.Model([series, context], k.layers.Dense(4)(x))


def gathered_edges(k: Any) -> Any:
    """Messages along fixed edges by gathering, and their sums by a product with the incidence matrix."""
    import numpy as np
    import tensorflow as tf

    nodes = k.Input([6, 8], name="nodes")
    sources, targets = [0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 0, 3, 5]
    pairs = tf.concat([tf.gather(nodes, sources, axis=1), tf.gather(nodes, targets, axis=1)], -1)
    messages = k.layers.Dense(12, "relu")(pairs)
    sums = tf.matmul(np.eye(6, dtype=np.float32)[targets].T[None], messages)
    return k.Model(nodes, k.layers.Dense(3)(tf.reduce_mean(tf.concat([nodes, sums], -1), 1)))


def sparse_experts(k: Any) -> Any:
    """A mixture in which only the two best experts count."""
    import tensorflow as tf

    vector = inputs.vector(k)
    logits = k.layers.Dense(4)(vector)
    least = tf.math.top_k(logits, 2).values[:, 1:]
    gates = k.layers.Softmax()(tf.where(logits >= least, logits, -8.0))
    experts = tf.stack([k.layers.Dense(8, "relu")(vector) for _ in range(4)], 1)
    return k.Model(vector, k.layers.Dense(3)(tf.reduce_sum(experts * tf.expand_dims(gates, -1), 1)))


def valid_steps(k: Any) -> Any:
    """A mean over the valid time steps; their number is an input."""
    import tensorflow as tf

    series, length = inputs.series(k), k.Input([1], dtype="int32", name="length")
    valid = tf.expand_dims(tf.cast(length > tf.range(12)[None], tf.float32), -1)
    x = k.layers.Conv1D(12, 3, padding="same", activation="relu")(series)
    return k.Model([series, length], k.layers.Dense(4)(tf.reduce_sum(x * valid, 1) * (1 / 12)))


def capsules(k: Any) -> Any:
    """Vectors whose length is squashed, and their agreement, as in capsule networks."""
    import tensorflow as tf

    image = inputs.image(k, 8)
    x = k.layers.Reshape((16, 8))(k.layers.Conv2D(8, 5, activation="relu")(image))
    squares = tf.reduce_sum(tf.square(x), -1, keepdims=True)
    x = x * (squares * tf.math.rsqrt(squares + 1e-7) / (1.0 + squares))
    votes = k.layers.Dense(12)(x)
    shares = tf.nn.softmax(tf.reduce_sum(votes * tf.reduce_mean(votes, 1, keepdims=True), -1), -1)
    return k.Model(image, k.layers.Dense(4)(tf.reduce_sum(votes * tf.expand_dims(shares, -1), 1)))


def spectrum(k: Any) -> Any:
    """Magnitudes of a short-time Fourier transform, as convolutions with constant kernels, and a mel matrix."""
    import numpy as np
    import tensorflow as tf

    audio = k.Input([512], name="audio")
    turns = 2 * np.pi * np.outer(np.arange(64), np.arange(33)) / 64
    window = np.hanning(64)[:, None]
    kernels = np.concatenate([np.cos(turns) * window, np.sin(turns) * window], 1)[:, None].astype(np.float32)
    frames = tf.nn.conv1d(tf.expand_dims(audio, -1), kernels, 32, "VALID")
    power = tf.square(frames[:, :, :33]) + tf.square(frames[:, :, 33:])
    mel = tf.matmul(power, np.random.default_rng(0).uniform(0, 0.1, (33, 12)).astype(np.float32))
    x = k.layers.Conv1D(12, 3, activation="relu")(tf.math.log(mel + 1e-2))
    return k.Model(audio, k.layers.Dense(4)(k.layers.GlobalAveragePooling1D()(x)))


def rotary(k: Any) -> Any:
    """Queries and keys that are rotated by their positions."""
    import numpy as np
    import tensorflow as tf

    series = inputs.series(k)
    angles = np.outer(np.arange(12), 1 / 10 ** np.arange(4))[None].astype(np.float32)

    def turned(x: Any) -> Any:
        left, right = tf.split(x, 2, -1)
        cos, sin = np.cos(angles), np.sin(angles)
        return tf.concat([left * cos - right * sin, left * sin + right * cos], -1)

    query, key, value = (k.layers.Dense(8)(series) for _ in range(3))
    scores = tf.matmul(turned(query), turned(key), transpose_b=True) * 0.35
    return k.Model(series, k.layers.Dense(3)(tf.reduce_mean(tf.matmul(tf.nn.softmax(scores), value), 1)))


def codebook(k: Any) -> Any:
    """The nearest vectors of a codebook, as in VQ-VAE."""
    import numpy as np
    import tensorflow as tf

    image = inputs.image(k, 8)
    codes = np.random.default_rng(3).normal(size=(16, 6)).astype(np.float32)
    x = tf.reshape(k.layers.Conv2D(6, 2, strides=2)(image), [-1, 16, 6])
    distances = np.square(codes).sum(1) - 2.0 * tf.matmul(x, codes.T)
    nearest = tf.gather(codes, tf.argmin(distances, -1))
    return k.Model(image, k.layers.Conv2DTranspose(3, 2, strides=2)(tf.reshape(nearest, [-1, 4, 4, 6])))


def coupling(k: Any) -> Any:
    """Two layers of a normalizing flow, which scales one half by the exponential of the other."""
    import tensorflow as tf

    vector = inputs.vector(k, 8)
    left, right = tf.split(vector, 2, -1)
    for _ in range(2):
        scale = k.layers.Dense(4, "tanh")(k.layers.Dense(16, "relu")(left))
        left, right = right * tf.exp(scale) + k.layers.Dense(4)(left), left
    return k.Model(vector, tf.concat([left, right], -1))


def differences(k: Any) -> Any:
    """A series, its shifts by zeros, constants, and products and windows."""
    import tensorflow as tf

    series = inputs.series(k)
    x = k.layers.Dense(8, "sigmoid")(series)
    before = tf.concat([tf.zeros_like(x[:, :1]), x[:, :-1]], 1)
    both = tf.concat([x, before, tf.fill(tf.shape(x), 0.5)], -1)
    windows = k.layers.Flatten()(tf.signal.frame(both, 4, 4, axis=1))
    return k.Model(series, k.layers.Dense(4)(tf.concat([windows, tf.reduce_prod(x[:, :3], 1)], -1)))


def mixed_precision(k: Any) -> Any:
    """A text recognizer that was trained in mixed precision."""
    k.mixed_precision.set_global_policy("mixed_float16")
    try:
        line = k.Input([16, 32, 1], name="line")
        x = k.layers.BatchNormalization()(k.layers.Conv2D(8, 3, padding="same", activation="relu")(line))
        x = k.layers.Reshape((16, 64))(k.layers.Permute((2, 1, 3))(k.layers.MaxPooling2D(2)(x)))
        x = k.layers.Bidirectional(k.layers.LSTM(8, return_sequences=True))(x)
        return k.Model(line, k.layers.Dense(12, "softmax", dtype="float32")(x))
    finally:
        k.mixed_precision.set_global_policy("float32")


def contracted(k: Any) -> Any:
    """Attention of two heads, written with einsum of Keras 3."""
    series = inputs.series(k)
    query, key, value = (k.layers.Reshape((12, 2, 4))(k.layers.Dense(8)(series)) for _ in range(3))
    shares = k.ops.softmax(k.ops.einsum("bqhd,bkhd->bhqk", query, key) * 0.5)
    mixed = k.ops.einsum("bhqk,bkhd->bqhd", shares, value)
    return k.Model(series, k.layers.Dense(3)(k.layers.Flatten()(mixed)))


_ALL = (
    differences,
    mixed_precision,
    gru_of_a_state,
    gathered_edges,
    sparse_experts,
    capsules,
    spectrum,
    rotary,
    codebook,
    coupling,
)
_KIND = "unusual"
MODELS = (
    *(ZooModel(build.__name__, _KIND, build) for build in _ALL),
    ZooModel("contracted", _KIND, contracted, "keras3"),
    ZooModel("valid_steps", _KIND, valid_steps, high=12),
)
