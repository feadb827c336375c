"""Models whose examples can have several labels: the labels, the range, the metrics, and the task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.core.errors import EdgemillError
from components.data.ready_made import Input, LabelsTask
from edgemill.project.data import recognize_data
from edgemill.project.found import Options
from edgemill.project.inputs import ModelInput
from edgemill.project.objective import Model
from edgemill.project.plan import Plan, plan

GENERATOR = np.random.default_rng(2)
PIXELS = GENERATOR.integers(0, 256, [300, 2], dtype=np.uint8)


def planned(folder: Path, labels: Any, *, outputs: int = 2, logits: bool = False, **options: object) -> Plan:
    """The plan for a model that says whether each of two pixels, from 0 to 1, is bright."""
    np.savez(folder / "d.npz", x=PIXELS, y=labels)
    chosen = Options.model_validate(options)
    model = Model(inputs={"x": ModelInput(shape=(2,), dtype="float32")}, outputs=outputs, output="tags")

    def run(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raw = 20 * (values["x"] - 0.5)
        return {"tags": raw if logits else 1 / (1 + np.exp(-raw.clip(-30, 30)))}

    return plan(recognize_data(folder / "d.npz", chosen), model, chosen, run)


@pytest.mark.parametrize("logits", [False, True])
def test_each_label_has_an_output(tmp_path: Path, logits: bool) -> None:
    found = planned(tmp_path, PIXELS > 127, logits=logits)
    assert (found.objective, found.range, found.logits, found.targets) == ("labels", "0..1", logits, (2,))
    assert (found.metrics, found.output) == (("binary_accuracy", "auc"), "tags")
    assert "label" not in found.examples


def test_rare_labels_have_no_ranks(tmp_path: Path) -> None:
    rare = PIXELS > 127
    rare[20:, 1] = False
    assert planned(tmp_path, rare, scale="0..1").metrics == ("binary_accuracy",)


@pytest.mark.parametrize(
    ("labels", "more", "words"),
    [
        (GENERATOR.integers(0, 2, [300, 2]), {}, r"no better than chance .*above 0\.5"),
        (np.ones([300, 3], int), {}, "labels do not match the model's outputs .*3 outputs, one for each label: y"),
        (PIXELS > 127, {"objective": "two_classes"}, "--objective: the examples have several labels"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: Any, more: dict[str, object], words: str) -> None:
    with pytest.raises(EdgemillError, match=words):
        planned(tmp_path, labels, **more)


def test_task_of_several_labels_reads_columns_and_trains() -> None:
    import tensorflow as tf

    labels = Input({"wet": "int64", "hot": "bool"}, (2,))
    task = LabelsTask({"x": Input({"x": "float32"}, (1,))}, "tags", labels, logits=True)
    assert sorted(task.feature_spec()) == ["hot", "wet", "x"]
    features = {"x": tf.zeros([2, 1]), "wet": tf.constant([[1], [0]], tf.int64), "hot": tf.constant(["True", "false"])}
    targets = task.targets(features)
    assert targets["tags"].numpy().tolist() == [[1, 1], [0, 0]]
    model = tf.keras.Sequential([tf.keras.layers.Input([1]), tf.keras.layers.Dense(2, name="tags")])
    task.compile(model)
    history = model.fit(task.decode(features), targets, verbose=0)
    assert history.history["loss"] == pytest.approx([np.log(2)])
    replace(task, objective="values").compile(model)
    assert isinstance(model.loss, tf.keras.losses.MeanSquaredError)
