import numpy as np
import pytest

KINDS = ("gru", "gru_before", "sru", "sru_same", "rnn")
STEPS, FEATURES, UNITS = 6, 5, 8


def recurrent_layer(kind, **options):
    import tensorflow as tf

    from components.cells.sru import SRU

    match kind:
        case "gru":
            return tf.keras.layers.GRU(UNITS, name="cell", **options)
        case "gru_before":
            return tf.keras.layers.GRU(UNITS, reset_after=False, name="cell", **options)
        case "sru":
            return SRU(UNITS, name="cell", **options)
        case "sru_same":
            return SRU(FEATURES, name="cell", **options)
        case "rnn":
            return tf.keras.layers.SimpleRNN(UNITS, name="cell", **options)
        case "lstm":
            return tf.keras.layers.LSTM(UNITS, name="cell", **options)


def randomized(model, seed=3):
    """Weights that no initializer gives: biases of zero hide mistakes."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(weight + random.normal(0, 0.2, weight.shape).astype(np.float32))
    return model


@pytest.fixture(scope="session")
def make_model():
    import tensorflow as tf

    def make(kind, **options):
        tf.keras.utils.set_random_seed(7)
        layers = tf.keras.layers
        x = layers.Input([STEPS, FEATURES], name="x")
        y = recurrent_layer(kind, **options)(x)
        return randomized(tf.keras.Model(x, layers.Dense(3, activation="softmax", name="p")(y)))

    return make


@pytest.fixture(scope="session")
def sequences():
    return np.random.default_rng(11).normal(size=(48, STEPS, FEATURES)).astype(np.float32)
