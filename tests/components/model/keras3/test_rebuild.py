"""Models that Keras 3 saves, rebuilt in tf-keras, against the outputs that Keras 3 computes."""

from pathlib import Path

import keras3_task_layer  # noqa: F401  # registers the layer
import numpy as np
import pytest
import tensorflow as tf

from components.model.keras3.load import rebuild_file
from components.model.keras3.proof import TOLERANCE
from components.model.keras_model import load_kept, save_keras
from tests.components.model.keras3.architectures import BUILT, FAMILIES, IN_HDF5

# Operations become layers of tf-keras that not all can be saved, and the task's own layers must be found again.
KEPT = {
    "sequential", "nested", "transformer", "simple_attention", "arithmetic", "activations_as_operations",
    "activation_layers", "moves", "reductions", "products", "images", "registered",
    "spaced_names", "crossed_output_names", "followed_outputs", "followed_sequential",
}  # fmt: skip


def differences(model: tf.keras.Model, stored: np.lib.npyio.NpzFile) -> list[float]:
    """The largest difference of each output, as a fraction of its scale."""
    inputs = [tf.constant(stored[f"input{index}"]) for index in range(len(model.inputs))]
    found = tf.nest.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))
    expected = [stored[name] for name in stored.files if name.startswith("output")]
    assert [tuple(one.shape) for one in found] == [one.shape for one in expected]
    assert all(np.isfinite(one).all() and np.std(one) > 0 for one in expected)
    return [float(np.abs(one - two).max() / np.abs(two).max()) for one, two in zip(found, expected, strict=True)]


@pytest.mark.parametrize("name", [*BUILT, *FAMILIES])
def test_rebuilt_model_computes_what_keras_3_computes_also_after_saving(saved: Path, tmp_path: Path, name: str) -> None:
    model = rebuild_file(saved / f"{name}.keras").model
    with np.load(saved / f"{name}.npz") as stored:
        assert max(differences(model, stored)) <= TOLERANCE
        if name in KEPT:
            save_keras(model, tmp_path)
            assert max(differences(load_kept(tmp_path), stored)) <= TOLERANCE


@pytest.mark.parametrize("name", IN_HDF5)
def test_rebuilt_model_of_an_hdf5_file_computes_the_same(saved: Path, name: str) -> None:
    with np.load(saved / f"{name}.npz") as stored:
        assert max(differences(rebuild_file(saved / f"{name}.h5").model, stored)) <= TOLERANCE


def test_names_that_scopes_do_not_take_are_replaced_without_meeting_others(saved: Path) -> None:
    model = rebuild_file(saved / "spaced_names.keras").model
    assert [tensor.name for tensor in model.inputs] == ["my_input"]
    assert {"a_dense", "a_dense_", "a_nested_model", "over_time"} <= {layer.name for layer in model.layers}


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("crossed_output_names", ["boxes", "hidden", "own", "scores", "total"]),
        ("followed_outputs", ["letters", "doubled", "largest", "thirds", "thirds_1", "thirds_2", "best"]),
        ("followed_sequential", ["b"]),
    ],
)
def test_outputs_have_their_names_of_keras_3_however_often_the_model_is_rebuilt(
    saved: Path, tmp_path: Path, name: str, outputs: list[str]
) -> None:
    for _ in range(2):
        model = rebuild_file(saved / f"{name}.keras").model
        assert list(model.output_names) == outputs
    save_keras(model, tmp_path)
    assert list(load_kept(tmp_path).output_names) == outputs
