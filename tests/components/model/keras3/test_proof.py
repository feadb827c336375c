"""The proof that a rebuilt model computes what Keras 3 computes in a child process."""

from pathlib import Path

import keras3_task_layer  # noqa: F401  # registers the layer
import numpy as np
import pytest
import tensorflow as tf

from components.baseline.pretrained import import_model
from components.baseline.source import recognize
from components.core.errors import ModelError
from components.facts.artifact_paths import REBUILT_FILE, SERVING_FOLDER
from components.model.keras3.facts import RebuiltFacts
from components.model.keras3.load import prove_file, rebuild_file
from components.model.keras3.proof import prove
from tests.artifacts import pretrained
from tests.components.model.keras3.conftest import save


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model with a layer of the task. The others take most of a minute."""
    return save(tmp_path_factory.mktemp("keras3"), "registered")


def test_import_takes_a_model_with_a_layer_of_the_task_and_records_the_difference(saved: Path, tmp_path: Path) -> None:
    path = saved / "registered.keras"
    assert recognize(path).kind == "keras3"
    import_model(pretrained(path), tmp_path)
    facts = RebuiltFacts.model_validate_json((tmp_path / REBUILT_FILE).read_text())
    assert facts.keras_version.startswith("3.")
    assert facts.examples == {"random": 3, "positive": 3}
    assert facts.largest_difference <= facts.tolerance == 1e-5
    serve = tf.saved_model.load(str(tmp_path / SERVING_FOLDER)).signatures["serving_default"]
    with np.load(saved / "registered.npz") as stored:
        (result,) = serve(x=tf.constant(stored["input0"])).values()
        np.testing.assert_allclose(result, stored["output0"], rtol=1e-5, atol=1e-6)


def test_model_that_computes_something_else_is_refused_with_where_and_how_much(saved: Path) -> None:
    path = saved / "registered.keras"
    rebuilt = rebuild_file(path)
    # Random inputs are too small to show this difference.
    clipped = tf.keras.Model(rebuilt.model.inputs, tf.minimum(rebuilt.model.outputs[0], 1e4))
    real = {"x": np.random.default_rng(0).normal(0, 1e6, [8, 3])}
    with pytest.raises(
        ModelError, match=r"on real inputs: .*has different outputs than .*found: 0\.\d+ of \d"
    ) as caught:
        prove_file(path, rebuilt._replace(model=clipped), real)
    assert "export it as a SavedModel" in caught.value.remedy


def test_model_that_keras_3_cannot_load_is_refused_with_the_cause(saved: Path) -> None:
    path = saved / "registered.keras"
    (version, config, *_), model = rebuild_file(path)
    cause = r"cannot be run in Keras 3\..*so its rebuilt form cannot be checked: .*No module named 'not_there'"
    with pytest.raises(ModelError, match=cause) as caught:
        prove(model, path, config, version, modules=["not_there"])
    assert "register them in the task's module with tf.keras.utils.register_keras_serializable" in caught.value.remedy
