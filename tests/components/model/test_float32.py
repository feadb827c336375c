"""Models of mixed precision are taken as models of 32-bit floats with the same weights."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.baseline.pretrained import load_keras
from components.model.float32 import in_float32
from tests.artifacts import pretrained

layers = tf.keras.layers


def mixed(policy: str) -> tf.keras.Model:
    tf.keras.utils.set_random_seed(2)
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        image = layers.Input([6, 6, 2], name="image")
        x = layers.Conv2D(4, 3, activation="relu")(image)
        inner = tf.keras.Sequential([layers.Input([4, 4, 4]), layers.Conv2D(4, 1), layers.ReLU()])
        x = layers.Flatten()(tf.cast(inner(x), x.dtype) * 0.5 + x)
        return tf.keras.Model(image, {"b": layers.Dense(3, name="x")(x), "a": layers.Dense(2, name="y")(x)})
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_model_of_mixed_precision_is_imported_in_32_bits(tmp_path: Path, policy: str) -> None:
    model = mixed(policy)
    model.save(tmp_path / "model.keras")
    changed = load_keras(pretrained(tmp_path / "model.keras"))
    assert {layer.compute_dtype for layer in changed.submodules if hasattr(layer, "compute_dtype")} == {"float32"}
    assert {name: tensor.dtype for name, tensor in changed.output.items()} == {"a": tf.float32, "b": tf.float32}
    for old, new in zip(model.get_weights(), changed.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_input_of_16_bits_is_imported_in_32_bits(tmp_path: Path) -> None:
    vector = layers.Input([4], name="vector", dtype="float16")
    model = tf.keras.Model(vector, layers.Dense(2, name="y")(vector))
    model.save(tmp_path / "model.keras")
    changed = load_keras(pretrained(tmp_path / "model.keras"))
    assert changed.inputs[0].dtype == tf.float32
    values = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float16)
    np.testing.assert_allclose(changed(values), model(values), rtol=1e-6)


def test_spectral_normalization_is_loaded(tmp_path: Path) -> None:
    vector = layers.Input([4], name="vector")
    model = tf.keras.Model(vector, layers.SpectralNormalization(layers.Dense(2), name="y")(vector))
    values = np.ones([1, 4], np.float32)
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        np.testing.assert_array_equal(load_keras(pretrained(tmp_path / name))(values), model(values))


def test_other_models_are_unchanged() -> None:
    vector = layers.Input([4], name="vector")
    model = tf.keras.Model(vector, layers.Dense(2)(vector) + 1.0)
    assert in_float32(model) is model
    # The function computes something else in 32 bits, so the model isn't replaced.
    width = layers.Lambda(lambda x: tf.cast(x, tf.float32) * 0.0 + x.dtype.size, dtype="mixed_float16")
    other = tf.keras.Model(vector, width(layers.Dense(2, dtype="mixed_float16")(vector)))
    assert in_float32(other) is other
