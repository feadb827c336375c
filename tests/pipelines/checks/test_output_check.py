"""Errors about outputs, targets, weights, and `postprocess` are reported before the first node runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.core.errors import SpecError
from components.spec.baseline import PretrainedBaseline
from pipelines.checks.dry_run import dry_run
from pipelines.checks.output_check import Built, check_targets_declared
from pipelines.checks.preflight import preflight
from pipelines.file.user_folders import make_importable
from tests.pipelines.checks.test_dry_run import check, errors_of
from tests.small_pipeline import SmallPipeline
from tests.two_outputs import POSTPROCESS, TASK, WEIGHTS, TwoOutputs, with_methods


class Plain:
    def feature_spec(self) -> dict[str, Any]:
        return {}

    def decode(self, features: Any) -> Any:
        return features


TARGETS = 'return {"shift": features["shift"][:, None], "kind": features["label"]}'


def test_pipeline_with_two_outputs_postprocess_and_weights_passes(tmp_path: Path) -> None:
    make_importable(TwoOutputs(tmp_path, with_methods(POSTPROCESS, WEIGHTS)).write())
    dry_run(preflight(tmp_path / "pipeline.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TARGETS, "return {}", "the task's targets does not return tensors to compare outputs with"),
        (TARGETS, 'return features["label"]', "a dict of output name -> dense tensor of numbers [batch, ...]; found: "),
        (
            TARGETS,
            'return {"shift": features["shift"][:1], "kind": features["label"]}',
            "task, output shift: the task's targets returns a tensor of the wrong shape (expected: [",
        ),
        (
            TARGETS,
            'return {"shift": tf.as_string(features["shift"]), "kind": features["label"]}',
            "found: a tensor of strings for 'shift'",
        ),
        (TARGETS, "return {'shift': 1 / 0}", "the task's targets fails: ZeroDivisionError: division by zero"),
        (
            TARGETS,
            'return {"kinds": features["label"], "shift": features["shift"][:, None]}',
            "the metric 'kinds' has nothing to compare the output 'kind' with (expected: the output 'kind' in the "
            "task's targets(features); found: kinds, shift). Remedy: rename the target 'kinds' 'kind'",
        ),
        (
            TARGETS,
            'return {"shift": features["shift"], "kind": features["label"], "shfit": features["shift"]}',
            "task: the task's targets names an output that does not exist (expected: one of kind, shift; found: "
            "shfit). Remedy: name 'shift'",
        ),
        (
            TARGETS,
            'return {"shift": tf.RaggedTensor.from_tensor(features["image"]), "kind": features["label"]}',
            "found: RaggedTensor for 'shift'",
        ),
        (
            TARGETS,
            'return {"shift": features["shift"][:, None], "kind": features["shift"] + 0.5}',
            "a label is not one of the model's classes (expected: 0 to 2, without fractions; found: 0.5 and 3 more",
        ),
        (
            TARGETS,
            'return {"shift": tf.repeat(features["shift"][:, None], 3, 1), "kind": features["label"]}',
            "evaluate.metrics: the metric 'error' compares each output with its own label (expected: 1 label per "
            "example; found: labels [4, 3], outputs [4, 1]). Remedy: provide a label in the shape of the output",
        ),
        (
            "def targets",
            "def aims",
            "baseline: a model is trained, but there is no target to compare its output with (expected: "
            "targets(features) that returns a dict with kind, shift, or a label; found: no targets, and no "
            "examples.label). Remedy: add the method to the task, or specify the feature with the label",
        ),
        ("\nTASK = Task()", "    def postprocess(self, outputs): return 1\n\nTASK = Task()", "found: int)"),
        (
            "\nTASK = Task()",
            "    def postprocess(self, outputs): return {'kind': outputs['kind'][1:]}\n\nTASK = Task()",
            "the task's postprocess does not return a result for each example (expected: a dict of output name -> "
            "array [4, ...]; found: kind [3, 3])",
        ),
        (
            "\nTASK = Task()",
            "    def postprocess(self, outputs): return outputs['kinds']\n\nTASK = Task()",
            "it gets the model's outputs: kind [4, 3], shift [4, 1]",
        ),
        (
            "\nTASK = Task()",
            "    def example_weights(self, features): return features['image']\n\nTASK = Task()",
            "the task's example_weights does not return one number per example (expected: a tensor of numbers "
            "[batch]; found: shape (4, 16) of float32)",
        ),
        (
            "\nTASK = Task()",
            "    def example_weights(self, features): return features['weight'] - 2\n\nTASK = Task()",
            "the task's example_weights does not return a weight for each example (expected: 4 finite numbers of at "
            "least 0; found: -1, -1)",
        ),
    ],
)
def test_what_the_task_returns_is_reported_when_it_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in errors_of(TwoOutputs(tmp_path, TASK.replace(old, new)))


def test_label_alone_is_not_enough_for_two_outputs(tmp_path: Path) -> None:
    small = TwoOutputs(tmp_path, TASK.replace("def targets", "def aims"))
    small.spec["examples"]["label"] = "label"
    assert "baseline: the model has several outputs, but the task declares one target, the label" in errors_of(small)


ANOMALY = """
import tensorflow as tf

class Task:
    def feature_spec(self):
        return {"image": tf.io.FixedLenFeature([16], tf.float32), "odd": tf.io.FixedLenFeature([], tf.float32)}

    def decode(self, features):
        return {"image": features["image"]}

TASK = Task()
"""


class Pretrained(SmallPipeline):
    """A pretrained autoencoder whose task declares no targets, without a label."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ANOMALY)
        for split in ("train", "eval"):
            self.write_split(split, 60, len(split), lambda n, row: {"image": row["image"], "odd": np.float32([n % 2])})
        image = tf.keras.Input([16], name="image")
        tf.keras.Model(image, tf.keras.layers.Dense(16, name="same")(image)).save(folder / "model.keras")
        del self.spec["examples"]["label"], self.spec["examples"]["num_classes"]
        self.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
        config = {"reconstructs": "image", "labels": "odd"}
        self.spec["evaluate"] = {"metrics": [{"name": "auc", "function": "anomaly_auc", "config": config}]}
        self.spec["gate"]["metrics"] = [{"name": "auc", "at_least": 0.4}]


def test_task_without_targets_needs_no_label_if_nothing_reads_one(tmp_path: Path) -> None:
    check(Pretrained(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metrics": ["mean_squared_error"]},
            "evaluate.metrics[0].output: the metric 'mean_squared_error' has nothing to compare the output 'same' with "
            "(expected: the output 'same' in the task's targets(features), or a label; found: no targets, and no "
            "examples.label). Remedy: add the method to the task, or specify the feature with the label",
        ),
        (
            {"metrics": ["cosine_similarity"]},
            "the metric 'cosine_similarity' (cosine_similarity): this metric compares the output with a target, but "
            "there is none (expected: a target; found: none). Remedy: return one from the task's targets(features), or",
        ),
    ],
)
def test_metric_that_compares_needs_a_target_or_a_label(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    small = Pretrained(tmp_path)
    small.spec["evaluate"] = change
    small.spec["gate"]["metrics"][0] = {"name": change["metrics"][0], "max_drop_from_baseline": 0.1}
    if "error" in change["metrics"][0]:
        small.spec["gate"]["metrics"][0] = {"name": change["metrics"][0], "max_rise_from_baseline": 0.1}
    assert message in errors_of(small)


def test_step_needs_a_target_or_a_label(tmp_path: Path) -> None:
    small = Pretrained(tmp_path)
    small.spec["recipes"][1]["steps"] = [{"kind": "qat", "epochs": 1}]
    assert "recipes[1].steps: a model is trained, but there is no target to compare its output with" in errors_of(small)


def test_output_that_does_not_exist_is_reported_with_the_nearest(tmp_path: Path) -> None:
    small = TwoOutputs(tmp_path)
    small.spec["evaluate"]["metrics"][1]["output"] = "shfit"
    said = errors_of(small)
    assert (
        "evaluate.metrics[1].output: the metric 'error' reads an output that does not exist (expected: one of " in said
    )
    assert "kind, shift; found: shfit). Remedy: name 'shift'" in said


def test_step_that_trains_several_outputs_with_one_target_is_refused(tmp_path: Path) -> None:
    small = TwoOutputs(tmp_path)
    small.spec["examples"]["label"] = "label"
    small.spec["recipes"].append({"name": "qat", "scheme": "static_wi8_ai8", "steps": [{"kind": "qat", "epochs": 1}]})
    make_importable(small.write())
    pretrained = PretrainedBaseline(kind="pretrained", path="model.keras")
    spec = preflight(small.file).spec.model_copy(update={"baseline": pretrained})
    built = Built(None, {"kind": (None, 3), "shift": (None, 1)}, dict)
    # Without targets, the task has the label alone.
    task = Plain()
    with pytest.raises(
        SpecError, match=r"^recipes\[2\]\.steps: the model has several outputs, but the task declares one"
    ):
        check_targets_declared(spec, task, built)
    check_targets_declared(spec.model_copy(update={"recipes": spec.recipes[:2]}), task, built)


def test_kind_of_an_output_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    small = TwoOutputs(tmp_path)
    small.spec["evaluate"]["outputs"] = {"kid": "logits"}
    assert "evaluate.outputs: there is no such output (expected: one of kind, shift; found: kid)" in errors_of(small)


def test_metric_that_names_no_output_is_reported_when_there_are_several(tmp_path: Path) -> None:
    small = TwoOutputs(tmp_path)
    del small.spec["evaluate"]["metrics"][0]["output"]
    said = errors_of(small)
    assert "evaluate.metrics[0].output: the metric 'kinds' does not say which output it reads" in said
    assert "class_name: SparseCategoricalAccuracy, output: kind" in said
