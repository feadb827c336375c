"""A task whose `build_model` returns a model of Keras 3: rebuilt before the run, or refused by the name of a layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.baseline.built import built_model
from components.data.task import load_task
from components.upstream.keras import is_keras3
from pipelines.file.user_folders import make_importable
from tests.pipelines.checks.test_dry_run import check, errors_of
from tests.small_pipeline import TASK, SmallPipeline

KERAS3 = """
    def build_model(self):
        import keras
        image = keras.Input([4, 4, 1], name="image")
        values = keras.layers.Conv2D(8, 3, activation="silu", name="first")(image)
        values = keras.ops.relu(keras.layers.Flatten()(values) + 0.1)
        return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="probabilities")(values))
"""


def task_with(build: str = KERAS3, old: str = "", new: str = "") -> str:
    """The small pipeline's task with another `build_model`."""
    start, end = TASK.index("    def build_model"), TASK.index("    def compile")
    return (TASK[:start] + build.lstrip("\n") + "\n" + TASK[end:]).replace(old, new)


def test_model_of_keras_3_is_trained_with_every_step(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, task_with())
    qat, prune = {"kind": "qat", "epochs": 1}, {"kind": "prune", "sparsity": 0.5, "epochs": 1}
    small.spec["recipes"] += [{"name": "both", "scheme": "static_wi8_ai8", "steps": [prune, qat]}]
    check(small)


def test_rebuilt_model_starts_with_the_weights_of_the_task(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, task_with())
    make_importable(small.write())
    task = load_task(small.spec["task"])
    built: list[object] = []
    build = task.build_model
    task.build_model = lambda: built.append(build()) or built[0]
    model = built_model(task)
    assert is_keras3(built[0]) and isinstance(model, tf.keras.Model)
    for mine, theirs in zip(model.get_weights(), built[0].get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    images = np.random.default_rng(0).random([6, 4, 4, 1], np.float32)
    np.testing.assert_allclose(model(images), np.asarray(built[0](images)), atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "keras.layers.Flatten()(values) + 0.1",
            "keras.layers.RMSNormalization(name='scaled')(keras.layers.Flatten()(values))",
            "task, build_model: layer scaled: tf-keras cannot rebuild this model of Keras 3: tf-keras has no layer "
            "RMSNormalization",
        ),
        (
            "keras.layers.Flatten()(values) + 0.1",
            "keras.layers.SpectralNormalization(keras.layers.Dense(4), name='bounded')(keras.layers.Flatten()(values))",
            "task, build_model: layer bounded: tf-keras cannot rebuild this model of Keras 3: ",
        ),
        ("return keras.Model(", "return keras.layers.Dense, (", "the task's build_model does not return a model"),
        (
            "tf.keras.optimizers.Adam(0.05)",
            "__import__('keras').optimizers.Adam(0.05)",
            "the task's compile passes an object of Keras 3, which tf-keras cannot use as optimizer",
        ),
    ],
    ids=["layer", "wrapper", "none", "optimizer"],
)
def test_what_tf_keras_lacks_is_refused_before_work(tmp_path: Path, old: str, new: str, message: str) -> None:
    said = errors_of(SmallPipeline(tmp_path, task_with(old=old, new=new)))
    assert message in said
    if "cannot rebuild" in said:
        assert "use only layers that tf-keras has; or train the model in its own environment" in said
