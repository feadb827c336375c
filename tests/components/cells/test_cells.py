"""The cells in float: Keras' own layers, our SRU and our writing out of them, against numpy."""

import numpy as np
import pytest

from tests.components.cells.conftest import FEATURES, KINDS, STEPS
from tests.components.cells.oracles import states_by_numpy


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_of_the_written_out_layer_is_that_of_the_paper(kind, make_model, sequences):
    from components.fake_quantize.rewrite import rewrite
    from components.lowering.lowering import trajectories

    model = make_model(kind)
    lowered = rewrite(model).model
    _, states = states_by_numpy(kind, model.get_layer("cell"), sequences)
    seen = trajectories(lowered, {"x": sequences})
    (found,) = seen.states.values()
    np.testing.assert_allclose(found, states, atol=2e-6)
    np.testing.assert_allclose(lowered(sequences), model(sequences), atol=1e-6)


@pytest.mark.parametrize("kind", ["sru", "sru_same"])
def test_sru_layer_computes_what_the_paper_says(kind, make_model, sequences):
    import tensorflow as tf

    model = make_model(kind, return_sequences=True)
    layer = model.get_layer("cell")
    outputs, _ = states_by_numpy(kind, layer, sequences)
    np.testing.assert_allclose(layer(tf.constant(sequences)), outputs, atol=2e-6)


def test_sru_of_as_many_units_as_features_projects_nothing(make_model):
    assert make_model("sru_same").get_layer("cell").cell.kernel.shape == (FEATURES, 3 * FEATURES)
    assert make_model("sru").get_layer("cell").cell.kernel.shape == (FEATURES, 4 * 8)


def test_sru_without_units_is_refused():
    from components.cells.sru import SRU

    with pytest.raises(ValueError, match="units must be at least 1, not 0"):
        SRU(0)


def test_saved_sru_is_loaded_again(make_model, sequences, tmp_path):
    import tensorflow as tf

    model = make_model("sru")
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(again(sequences), model(sequences))


def test_bidirectional_layers_are_written_out_one_for_each_direction(sequences):
    import tensorflow as tf

    from components.fake_quantize.rewrite import rewrite
    from tests.components.cells.conftest import randomized

    layers = tf.keras.layers
    x = layers.Input([STEPS, FEATURES], name="x")
    y = layers.Bidirectional(layers.GRU(4, return_sequences=True), name="both")(x)
    model = randomized(tf.keras.Model(x, layers.Bidirectional(layers.LSTM(3), merge_mode="sum", name="end")(y)))
    rewritten = rewrite(model)
    names = [layer.name for layer in rewritten.model.layers]
    assert names == ["x", "both/forward", "both/backward", "both", "end/forward", "end/backward", "end"]
    np.testing.assert_allclose(rewritten.model(sequences), model(sequences), atol=1e-6)
