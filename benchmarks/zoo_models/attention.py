"""Attention, embeddings, and models of texts and sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.zoo_models.entry import ZooModel

WORDS, LENGTH, WIDTH = 40, 8, 16


def _block(k: Any, x: Any, **call: Any) -> Any:
    layers = k.layers
    mixed = layers.MultiHeadAttention(2, 8, dropout=0.1)(x, x, **call)
    x = layers.LayerNormalization()(layers.Add()([x, mixed]))
    y = layers.Dense(WIDTH)(layers.Dense(2 * WIDTH, "gelu")(x))
    return layers.LayerNormalization()(layers.Add()([x, y]))


def _of_text(k: Any, body: Callable[[Any], Any], mask_zero: bool = False) -> Any:
    ids = k.Input([LENGTH], dtype="int32", name="ids")
    x = body(k.layers.Embedding(WORDS, WIDTH, mask_zero=mask_zero, name="words")(ids))
    return k.Model(ids, k.layers.Dense(3, "softmax", name="topic")(x))


def bag_of_words(k: Any) -> Any:
    return _of_text(k, k.layers.GlobalAveragePooling1D())


def masked_bag_of_words(k: Any) -> Any:
    return _of_text(k, k.layers.GlobalAveragePooling1D(), mask_zero=True)


def text_cnn(k: Any) -> Any:
    layers = k.layers

    def body(x: Any) -> Any:
        found = [layers.GlobalMaxPooling1D()(layers.Conv1D(12, n, activation="relu")(x)) for n in (2, 3, 4)]
        return layers.Dropout(0.3)(layers.Concatenate()(found))

    return _of_text(k, body)


def text_lstm(k: Any) -> Any:
    return _of_text(k, k.layers.LSTM(16))


def masked_text_gru(k: Any) -> Any:
    return _of_text(k, k.layers.GRU(16), mask_zero=True)


def transformer(k: Any) -> Any:
    import tensorflow as tf

    def body(x: Any) -> Any:
        x = x + k.layers.Embedding(LENGTH, WIDTH, name="places")(tf.range(LENGTH))
        return k.layers.GlobalAveragePooling1D()(_block(k, _block(k, x)))

    return _of_text(k, body)


def causal_transformer(k: Any) -> Any:
    series = k.Input([LENGTH, WIDTH], name="series")
    return k.Model(series, k.layers.Dense(6, name="next")(_block(k, series, use_causal_mask=True)))


def vision_transformer(k: Any) -> Any:
    layers = k.layers
    image = k.Input([16, 16, 3], name="image")
    x = layers.Reshape((16, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(image))
    x = layers.GlobalAveragePooling1D()(_block(k, x))
    return k.Model(image, layers.Dense(5)(x))


def cross_attention(k: Any) -> Any:
    layers = k.layers
    question, memory = k.Input([4, WIDTH], name="question"), k.Input([LENGTH, WIDTH], name="memory")
    x = layers.MultiHeadAttention(2, 8)(question, memory)
    return k.Model([question, memory], layers.Dense(3)(layers.Flatten()(layers.Add()([question, x]))))


def dot_attention(k: Any) -> Any:
    layers = k.layers
    series = k.Input([LENGTH, WIDTH], name="series")
    x = layers.Attention()([layers.Dense(WIDTH)(series), layers.Dense(WIDTH)(series)])
    return k.Model(series, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def additive_attention(k: Any) -> Any:
    layers = k.layers
    series = k.Input([LENGTH, WIDTH], name="series")
    x = layers.AdditiveAttention()([series, layers.Dense(WIDTH)(series)])
    return k.Model(series, layers.Dense(3)(layers.Flatten()(x)))


def attention_over_lstm(k: Any) -> Any:
    layers = k.layers
    series = k.Input([LENGTH, 6], name="series")
    x = layers.LSTM(16, return_sequences=True)(series)
    weights = layers.Softmax(axis=1)(layers.Dense(1)(x))
    return k.Model(series, layers.Dense(3)(layers.Flatten()(layers.Dot(1)([weights, x]))))


def recommender(k: Any) -> Any:
    layers = k.layers
    user, item = k.Input([], dtype="int32", name="user"), k.Input([], dtype="int32", name="item")
    towers = [layers.Embedding(WORDS, WIDTH, name=f"{name}s")(ids) for name, ids in (("user", user), ("item", item))]
    return k.Model([user, item], layers.Dense(1, "sigmoid", name="rating")(layers.Concatenate()(towers)))


def set_pooling(k: Any) -> Any:
    """A network on each element of a set, then sums and maxima, as in DeepSets and PointNet."""
    import tensorflow as tf

    layers = k.layers
    points = k.Input([12, 3], name="points")
    x = layers.Dense(32, "relu")(layers.Dense(32, "relu")(points))
    x = layers.Concatenate()([tf.reduce_sum(x, 1), tf.reduce_max(x, 1)])
    return k.Model(points, layers.Dense(4)(x))


def graph_network(k: Any) -> Any:
    """Messages along an adjacency matrix that is an input."""
    import tensorflow as tf

    layers = k.layers
    nodes, edges = k.Input([6, 8], name="nodes"), k.Input([6, 6], name="edges")
    x = layers.ReLU()(tf.matmul(edges, layers.Dense(24)(nodes)))
    return k.Model(
        [nodes, edges], layers.Dense(3)(layers.GlobalAveragePooling1D()(tf.matmul(edges, layers.Dense(24)(x))))
    )


def einsum_attention(k: Any) -> Any:
    import tensorflow as tf

    layers = k.layers
    series = k.Input([LENGTH, WIDTH], name="series")
    scores = tf.einsum("btc,bsc->bts", layers.Dense(WIDTH)(series), layers.Dense(WIDTH)(series))
    x = tf.einsum("bts,bsc->btc", layers.Softmax()(scores * 0.25), series)
    return k.Model(series, layers.Dense(3)(layers.Flatten()(x)))


_INTEGERS = {
    "transformer",
    "bag_of_words",
    "masked_bag_of_words",
    "text_cnn",
    "text_lstm",
    "masked_text_gru",
    "recommender",
}
MODELS = tuple(
    ZooModel(build.__name__, "attention and texts", build, high=WORDS if build.__name__ in _INTEGERS else None)
    for build in (
        bag_of_words, masked_bag_of_words, text_cnn, text_lstm, masked_text_gru, transformer, causal_transformer,
        vision_transformer, cross_attention, dot_attention, additive_attention, attention_over_lstm, recommender,
        set_pooling, graph_network, einsum_attention,
    )
)  # fmt: skip
