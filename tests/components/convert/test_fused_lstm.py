"""LSTMs as fused integer operators: also behind one another, calibrated from a reset state, with trained ranges."""

import numpy as np
import pytest

from components.quantize.scheme import StaticWi8Ai8
from tests.components.quantize.recurrent.conftest import *  # noqa: F403 - fixtures
from tests.components.quantize.recurrent.conftest import FEATURES, STEPS, randomized
from tests.components.quantize.recurrent.oracles import sigmoid


def stacked():
    import tensorflow as tf

    tf.keras.utils.set_random_seed(2)
    layers = tf.keras.layers
    x = layers.Input([STEPS, FEATURES], name="x")
    y = layers.LSTM(5, name="second")(layers.LSTM(7, return_sequences=True, name="first")(x))
    return randomized(tf.keras.Model(x, layers.Dense(3, activation="softmax", name="p")(y)))


def cells_by_numpy(layer, x):
    kernel, recurrent, bias = layer.get_weights()
    h = c = np.zeros((len(x), recurrent.shape[0]))
    seen = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        seen.append(c)
    return np.stack(seen, axis=1)


@pytest.fixture(scope="module")
def converted(sequences, tmp_path_factory):
    from components.convert.converter import convert
    from components.convert.recurrent import known_cells, with_fixed_batch
    from components.keras_model import save_keras

    folder = tmp_path_factory.mktemp("lstm")
    model = stacked()
    save_keras(model, folder)
    known = known_cells(folder, iter([({"x": one[None]}, {}) for one in sequences]))
    saved = with_fixed_batch(folder, folder / "fixed")
    content = convert(saved, StaticWi8Ai8(), lambda: iter([{"x": one[None]} for one in sequences]), known=known)
    return model, known, content


def test_stacked_lstms_are_both_fused_and_the_inspection_names_their_bits(converted):
    from components.convert.inspection import inspect_model

    inspection = inspect_model(converted[2])
    assert inspection.integer_only
    assert len(inspection.cells) == 2
    for cell in inspection.cells:
        types = {tensor.role: tensor.dtype for tensor in cell.tensors}
        assert types["cell state"] == "INT16"
        assert types["input"] == types["hidden state"] == types["output"] == "INT8"
        assert types["weights of hidden state to forget gate"] == "INT8"
        assert types["bias of cell gate"] == "INT32"


def test_integer_lstm_is_near_the_float_model_for_each_sequence_alone(converted, sequences):
    from components.interpreter import TFLiteModel

    model, _, content = converted
    found = TFLiteModel(content).predict({"x": sequences})["p"]
    assert np.abs(found - model(sequences).numpy()).max() < 0.03


def test_range_of_the_cell_state_is_that_inside_the_sequences(converted, sequences):
    model, known, _ = converted
    states = cells_by_numpy(model.get_layer("first"), sequences)
    first = next(cell for cell in known.cells if cell.kernel.shape == (7, FEATURES))
    np.testing.assert_allclose(first.cell, (states.min(), states.max()), rtol=1e-5)


def test_trained_ranges_reach_the_fused_operator(sequences, tmp_path):
    import tensorflow as tf

    from components.convert.inspection import inspect_model
    from components.convert.recurrent import convert_trained_lstm
    from components.convert.trained import lost_ranges
    from components.interpreter import TFLiteModel
    from components.quantize.qat import quantized, trained_ranges
    from components.quantize.qat_spec import QatStep
    from components.quantize.recurrent.deploy import deploy

    scheme = StaticWi8Ai8()
    model = quantized(stacked(), QatStep(kind="qat", epochs=1), scheme, steps_per_epoch=1)
    model.compile(tf.keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    model.fit(sequences, np.arange(len(sequences)) % 3, batch_size=16, epochs=2, verbose=0)
    ranges = trained_ranges(model)
    deploy(model, "sequence", tmp_path, "p", {"x": sequences})
    made = convert_trained_lstm(tmp_path, scheme, ranges, lambda _: None)
    assert inspect_model(made.content).integer_only
    assert lost_ranges(made.content, ranges) == ()
    # The kernel's own tables for tanh and sigmoid are all that training does not see.
    found = TFLiteModel(made.content).predict({"x": sequences})["p"]
    assert np.abs(found - model(sequences, training=False).numpy()).max() < 0.02
    held = {one.tensor: one for one in ranges}
    assert np.log2(-held["first/c"].low) % 1 == 0
