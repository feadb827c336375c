"""Recurrent layers are replaced by ones that can be fused or lowered, with the same outputs."""

import numpy as np
import pytest
import tensorflow as tf

from components.model.plain_recurrent import with_plain_recurrent, without_state

layers = tf.keras.layers


def series():
    return tf.keras.Input([6, 4], name="series")


def of_cells(*cells, **options):
    x = series()
    return tf.keras.Model(x, layers.RNN(list(cells) if len(cells) > 1 else cells[0], name="rnn", **options)(x))


def with_state(layer, count=1):
    x = series()
    y, *states = layer(x)
    read = [states[0]] if count == 1 else [states[0], states[count]]
    return tf.keras.Model(x, layers.Dense(3, name="last")(layers.Concatenate()([layers.Flatten()(y), *read])))


CASES = {
    "lstm_cell": (lambda: of_cells(layers.LSTMCell(5), return_sequences=True), ["LSTM"]),
    "gru_cell_backwards": (lambda: of_cells(layers.GRUCell(5, reset_after=False), go_backwards=True), ["GRU"]),
    "stacked": (
        lambda: of_cells(layers.GRUCell(5), layers.SimpleRNNCell(3), return_sequences=True, go_backwards=True),
        ["GRU", "SimpleRNN"],
    ),
    "last_output": (lambda: with_state(layers.GRU(5, return_state=True)), ["GRU"]),
    "last_of_all": (lambda: with_state(layers.LSTM(5, return_state=True, return_sequences=True)), ["LSTM"]),
    "both_ways": (
        lambda: with_state(layers.Bidirectional(layers.GRU(5, return_state=True, return_sequences=True)), 1),
        ["Bidirectional"],
    ),
    "both_ways_last": (
        lambda: with_state(layers.Bidirectional(layers.LSTM(5, return_state=True)), 2),
        ["Bidirectional"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_layer_is_replaced_by_a_plain_one_that_computes_the_same(case):
    build, kinds = CASES[case]
    model = build()
    for index, weight in enumerate(model.weights):
        weight.assign(weight + np.random.default_rng(index).normal(0, 0.2, weight.shape))
    plain = with_plain_recurrent(model)
    recurrent = [layer for layer in plain.layers if hasattr(layer, "return_state") or hasattr(layer, "forward_layer")]
    assert [type(layer).__name__ for layer in recurrent] == kinds
    assert not any(getattr(getattr(layer, "forward_layer", layer), "return_state", False) for layer in recurrent)
    assert plain.output_names == model.output_names
    x = np.random.default_rng(7).normal(size=(3, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(plain(x), model(x), atol=1e-5)


def _cell_state():
    x = series()
    _, _, c = layers.LSTM(5, return_state=True)(x)
    return tf.keras.Model(x, layers.Dense(3)(c))


def _state_as_output():
    x = series()
    return tf.keras.Model(x, layers.GRU(5, return_state=True)(x))


def _initial_state():
    x = series()
    return tf.keras.Model(x, layers.RNN(layers.GRUCell(4))(x, initial_state=layers.Flatten()(x)[:, :4]))


@pytest.mark.parametrize(
    "build", [_cell_state, _state_as_output, _initial_state, lambda: of_cells(layers.GRUCell(5), return_state=True)]
)
def test_model_whose_states_are_read_stays(build):
    model = build()
    assert with_plain_recurrent(model) is model


@pytest.mark.parametrize("both", [False, True])
def test_stateful_model_starts_each_sequence_from_zeros(both):
    x = tf.keras.Input([6, 4], batch_size=1, name="series")
    layer = layers.GRU(5, stateful=True)
    model = tf.keras.Model(x, layers.Dense(3)((layers.Bidirectional(layer) if both else layer)(x)))
    first, second = np.random.default_rng(7).normal(size=(2, 1, 6, 4)).astype(np.float32)
    wanted = model(second).numpy()
    stateless = without_state(model)
    assert not any(layer.stateful for layer in stateless.submodules if hasattr(layer, "stateful"))
    stateless(first)
    np.testing.assert_allclose(stateless(second), wanted, atol=1e-6)
    assert without_state(stateless) is stateless
