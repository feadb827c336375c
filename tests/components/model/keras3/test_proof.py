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
from tests.artifacts import pretrained


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
    with pytest.raises(ModelError, match=r"on real inputs: .*computes something else .*found: 0\.\d+ of \d") as caught:
        prove_file(path, rebuilt._replace(model=clipped), real)
    assert "export it as a SavedModel" in caught.value.remedy


def test_model_that_keras_3_cannot_load_is_refused_with_the_cause(saved: Path, tmp_path: Path) -> None:
    rebuilt = rebuild_file(saved / "registered.keras")
    (tmp_path / "model.keras").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"cannot be run in Keras 3\..*so its rebuilt form cannot be checked: .*File"):
        prove_file(tmp_path / "model.keras", rebuilt)
