"""Networks of dense layers, and models of several vectors."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo_models.entry import ZooModel


def mlp(k: Any) -> Any:
    dense = k.layers.Dense
    return k.Sequential([k.Input([16], name="vector"), dense(64, "relu"), dense(32, "relu"), dense(5, "softmax")])


def regressor(k: Any) -> Any:
    return k.Sequential([k.Input([8], name="vector"), k.layers.Dense(64, "tanh"), k.layers.Dense(1)])


def linear(k: Any) -> Any:
    return k.Sequential([k.Input([64], name="vector"), k.layers.Dense(20)])


def normalized_mlp(k: Any) -> Any:
    layers = k.layers
    blocks = [part for _ in range(2) for part in (layers.Dense(48, use_bias=False), layers.BatchNormalization(),
                                                  layers.ReLU(), layers.Dropout(0.2))]  # fmt: skip
    return k.Sequential([k.Input([24], name="vector"), *blocks, layers.Dense(4, "softmax")])


def self_normalizing(k: Any) -> Any:
    layers = k.layers
    blocks = [part for _ in range(2) for part in (layers.Dense(48, "selu", kernel_initializer="lecun_normal"),
                                                  layers.AlphaDropout(0.1))]  # fmt: skip
    return k.Sequential([k.Input([24], name="vector"), *blocks, layers.Dense(4)])


def gelu_mlp(k: Any) -> Any:
    layers = k.layers
    return k.Sequential(
        [k.Input([24], name="vector"), layers.Dense(48, "gelu"), layers.Dense(48, "elu"), layers.Dense(4)]
    )


def residual_mlp(k: Any) -> Any:
    vector = x = k.Input([24], name="vector")
    x = k.layers.Dense(32)(x)
    for _ in range(2):
        x = x + k.layers.Dense(32, "relu")(k.layers.Dense(32, "relu")(x))
    return k.Model(vector, k.layers.Dense(4)(x))


def wide_and_deep(k: Any) -> Any:
    layers = k.layers
    wide, deep = k.Input([40], name="wide"), k.Input([12], name="deep")
    x = layers.Dense(32, "relu")(layers.Dense(64, "relu")(deep))
    return k.Model([wide, deep], layers.Dense(1, "sigmoid", name="click")(layers.Concatenate()([wide, x])))


def mixture(k: Any) -> Any:
    """A mixture of experts: the softmax of a gate weights the outputs of three networks."""
    layers = k.layers
    vector = k.Input([16], name="vector")
    gate = layers.Dense(3, "softmax", name="gate")(vector)
    experts = [layers.Reshape((1, 24))(layers.Dense(24, "relu")(vector)) for _ in range(3)]
    mixed = layers.Dot(1)([layers.Concatenate(axis=1)(experts), gate])
    return k.Model(vector, layers.Dense(4)(mixed))


def gated(k: Any) -> Any:
    layers = k.layers
    vector = k.Input([16], name="vector")
    x = layers.Multiply()([layers.Dense(48)(vector), layers.Dense(48, "sigmoid")(vector)])
    return k.Model(vector, layers.Dense(4)(x))


def autoencoder(k: Any) -> Any:
    dense = k.layers.Dense
    code = [dense(64, "relu"), dense(8, "relu", name="code"), dense(64, "relu")]
    return k.Sequential([k.Input([40], name="spectrum"), *code, dense(40, name="reconstruction")])


def siamese(k: Any) -> Any:
    """Two inputs of equal shape through the same layers."""
    layers = k.layers
    left, right = k.Input([32], name="left"), k.Input([32], name="right")
    first, second = layers.Dense(48, "relu"), layers.Dense(16)
    difference = layers.Subtract()([second(first(left)), second(first(right))])
    return k.Model([left, right], layers.Dense(1, "sigmoid", name="same")(difference))


def swapped(k: Any) -> Any:
    """Two inputs of equal shape whose names are in a different order than the model's, and two such outputs."""
    layers = k.layers
    second, first = k.Input([12], name="z_first"), k.Input([12], name="a_second")
    x = layers.Subtract()([layers.Dense(64, "relu")(second), layers.Dense(64)(first)])
    return k.Model(
        [second, first], [layers.Dense(3, name="z_scores")(x), layers.Dense(3, "sigmoid", name="a_flags")(x)]
    )


def unit_vectors(k: Any) -> Any:
    layers = k.layers
    hidden = layers.Dense(64, "relu")
    return k.Sequential([k.Input([32], name="vector"), hidden, layers.Dense(16), layers.UnitNormalization()])


def layer_normalized(k: Any) -> Any:
    layers = k.layers
    blocks = [layers.Dense(48, "relu"), layers.LayerNormalization(), layers.Dense(48, "swish")]
    return k.Sequential([k.Input([24], name="vector"), *blocks, layers.LayerNormalization(), layers.Dense(4)])


def cosine_towers(k: Any) -> Any:
    layers = k.layers
    user, item = k.Input([24], name="user"), k.Input([24], name="item")
    towers = [layers.Dense(32)(layers.Dense(48, "relu")(each)) for each in (user, item)]
    return k.Model([user, item], layers.Dot(1, name="score")(towers))


MODELS = tuple(
    ZooModel(build.__name__, "dense", build)
    for build in (
        mlp, regressor, linear, normalized_mlp, self_normalizing, gelu_mlp, residual_mlp, wide_and_deep, mixture, gated,
        autoencoder, siamese, swapped, unit_vectors, layer_normalized, cosine_towers,
    )
)  # fmt: skip
