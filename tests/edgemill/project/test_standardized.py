"""Tables whose columns int8 loses, and models that standardize them."""

from pathlib import Path

import numpy as np
import pytest
import tf_keras

from components.upstream.keras import is_graph
from edgemill.project.standardized import coarse_columns, without_standardization

layers = tf_keras.layers
GENERATOR = np.random.default_rng(0)
VALUES = np.stack([GENERATOR.normal(0.5, 0.1, 200), GENERATOR.normal(5000, 900, 200)], axis=1).astype(np.float32)


def test_columns_with_few_steps_are_found() -> None:
    found = coarse_columns(["small", "large"], VALUES)
    # The range from 0 to about 7,500 has 255 steps of about 30.
    assert list(found) == ["small"] and 0.002 < found["small"] < 0.005
    assert coarse_columns(["a", "b"], GENERATOR.normal(0, 1, [200, 2])) == {}
    assert coarse_columns(["constant", "far"], np.stack([np.ones(200), VALUES[:, 1]], axis=1)) == {}
    assert list(coarse_columns(["far"], 1000 + GENERATOR.normal(0, 1, [200, 1]))) == ["far"]


@pytest.mark.parametrize("adapted", [True, False])
def test_layer_that_standardizes_moves_out_of_the_model(tmp_path: Path, adapted: bool) -> None:
    mean, variance = VALUES.mean(axis=0), VALUES.var(axis=0)
    layer = layers.Normalization() if adapted else layers.Normalization(mean=mean, variance=variance)
    if adapted:
        layer.adapt(VALUES)
    model = tf_keras.Sequential([layers.Input([2]), layer, layers.Dense(4, "relu"), layers.Dense(1, name="answer")])
    [name] = (each.name for each in model.inputs)
    found = without_standardization(model, name, tmp_path / "s.keras")
    assert found is not None and found.layer == layer.name
    np.testing.assert_allclose(found.scale, 1 / np.sqrt(variance), rtol=1e-5)
    saved = tf_keras.models.load_model(tmp_path / "s.keras")
    assert is_graph(saved) and saved.output_names == ["answer"]
    assert not any(isinstance(each, layers.Normalization) for each in saved.layers)
    scaled = VALUES * np.float32(found.scale) + np.float32(found.offset)
    np.testing.assert_allclose(saved(scaled), model(VALUES), atol=1e-4)


def test_other_models_stay_as_they_are(tmp_path: Path) -> None:
    inputs = layers.Input([2])
    # Something else reads the unscaled values, too.
    both = layers.Concatenate()([inputs, layers.Normalization(mean=0.0, variance=4.0)(inputs)])
    for model in (
        tf_keras.Model(inputs, both),
        tf_keras.Sequential([layers.Input([2]), layers.Dense(1)]),
        tf_keras.Sequential([layers.Input([2]), layers.Normalization(mean=0.0, variance=4.0, invert=True)]),
    ):
        assert without_standardization(model, model.inputs[0].name, tmp_path / "s.keras") is None
    assert not (tmp_path / "s.keras").exists()
