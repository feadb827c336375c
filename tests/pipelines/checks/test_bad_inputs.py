"""Models, tasks, and metrics that are wrong in their own ways: each is refused before the first node, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.checks.test_dry_run import check, errors_of
from tests.two_outputs import TASK, TwoOutputs, with_methods

POSTPROCESS = """
    def postprocess(self, outputs):
        import numpy as np
        return {found}
"""
WEIGHTS = """
    def example_weights(self, features):
        return {found}
"""
TARGETS = 'return {"shift": features["shift"][:, None], "kind": features["label"]}'


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            '{"kind": outputs["kind"] * np.nan, "shift": outputs["shift"]}',
            "task: the metric 'kinds' compares numbers, but the output 'kind' has values that are NaN (expected: "
            "numbers from postprocess; found: float32 [4, 3], 12 of 12 are NaN). Remedy: correct postprocess, or use",
        ),
        (
            '{"kind": np.array(["a"] * len(outputs["kind"])), "shift": outputs["shift"]}',
            "task: the metric 'kinds' compares numbers, but the output 'kind' has none (expected: numbers from "
            "postprocess; found: <U1 [4])",
        ),
        # The last batch has a different size.
        (
            '{"kind": np.zeros([4, 3]), "shift": outputs["shift"]}',
            "the task's postprocess does not return a result for each example (expected: a dict of output name -> "
            "array [1, ...]; found: kind [4, 3])",
        ),
        (
            '{"kind": [[1] * (1 + row % 2) for row in range(len(outputs["kind"]))], "shift": outputs["shift"]}',
            "the task's postprocess fails: ValueError: setting an array element with a sequence",
        ),
        ('{3: outputs["kind"], **outputs}', "array [4, ...]; found: 3 [4, 3])"),
        ("__import__('sys').exit(0)", "task: user code exits with SystemExit(0) instead of returning"),
    ],
    ids=["NaN", "text", "size", "ragged", "key", "exit"],
)
def test_results_of_postprocess(tmp_path: Path, found: str, message: str) -> None:
    assert message in errors_of(TwoOutputs(tmp_path, with_methods(POSTPROCESS.format(found=found))))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # The last batch has a different size.
        (
            TARGETS,
            'return {"shift": tf.zeros([4, 1]), "kind": features["label"]}',
            "task, output shift: the task's targets returns a tensor of the wrong shape (expected: [1, ...], one row "
            "per example; found: [4, 1])",
        ),
        (TARGETS, 'return {"": features["label"], "kind": features["label"]}', "found: an empty name)"),
        (TARGETS, 'return {1: features["label"], "kind": features["label"]}', "found: a name of type int)"),
        (
            '"kind": "sparse_categorical_crossentropy"}',
            '"kinds": "sparse_categorical_crossentropy"}',
            "task: the model cannot be trained on the first examples: ValueError: Found unexpected losses or metrics "
            "that do not correspond to any Model output: dict_keys(['kinds'])",
        ),
        (
            '"left": features["image"][:, :8]}',
            '"left": features["image"][:, :8], "mid": features["image"]}',
            "model inputs: the decoded inputs do not match the model's inputs (expected: left (None, 8), right "
            "(None, 8); found: left (4, 8), mid (4, 16), right (4, 8))",
        ),
        (', "left": features["image"][:, :8]}', "}", "right (None, 8); found: right (4, 8))"),
    ],
    ids=["size", "empty", "number", "loss", "more", "fewer"],
)
def test_names_and_sizes_of_the_task(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in errors_of(TwoOutputs(tmp_path, TASK.replace(old, new)))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        # The last batch has a different size.
        (
            "tf.ones([4])",
            "does not return a weight for each example (expected: 1 finite numbers of at least 0; found: 4",
        ),
        ("features['weight'] * float('nan')", "expected: 4 finite numbers of at least 0; found: nan, nan"),
        ("tf.constant(['a', 'b', 'c', 'd'])", "example_weights does not return one number per example"),
    ],
)
def test_weights_of_examples(tmp_path: Path, found: str, message: str) -> None:
    assert message in errors_of(TwoOutputs(tmp_path, with_methods(WEIGHTS.format(found=found))))


OWN = """
import numpy as np

def nothing(predictions, targets):
    return np.full(len(predictions["kind"]), np.nan)

class Sum:
    def create(self): return 0.0
    def add(self, total, predictions, targets): return total + float(predictions["shift"].sum())
    def merge(self, total, other): return total + other
    def result(self, total): return total
"""


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            {"function": "bad_metrics:nothing"},
            "evaluate.metrics: the metric 'kinds' (bad_metrics:nothing) returns nan for 4 of 4 examples (expected: an "
            "array of finite numbers [4], one per example; found: nan for example 0 of a batch)",
        ),
        (
            {"function": "bad_metrics:Sum"},
            "evaluate.metrics: the task weights examples, but the metric 'kinds' (bad_metrics:Sum) counts every "
            "example once (expected: add() with a parameter `weights`, an array [N]; found: add() without it). "
            "Remedy: add ",
        ),
        (
            {"class_name": "Precision", "config": {"class_id": 99}, "output": "kind"},
            "the metric 'kinds' cannot be computed on the first examples: ValueError: class_id \"99\" out of range",
        ),
        (
            {"class_name": "SparseCategoricalAccuracy", "output": "knid"},
            "the metric 'kinds' reads an output that does not exist (expected: one of kind, shift; found: knid). "
            "Remedy: name 'kind'",
        ),
        (
            {"function": "mean_iou", "output": "kind", "config": {"mask": "visible"}},
            "evaluate.metrics: the task has no dense feature 'visible'",
        ),
    ],
    ids=["NaN", "weights", "class", "output", "feature"],
)
def test_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: dict[str, object], message: str) -> None:
    (tmp_path / "bad_metrics.py").write_text(OWN)
    monkeypatch.delitem(__import__("sys").modules, "bad_metrics", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    small = TwoOutputs(tmp_path, with_methods(WEIGHTS.format(found="features['weight']")))
    small.spec["evaluate"]["metrics"] = [{"name": "kinds", "less_is_better": False, "range": [0, 9], **metric}]
    small.spec["gate"]["metrics"] = [{"name": "kinds", "at_least": 0.5}]
    assert message in errors_of(small)


@pytest.mark.parametrize(
    "outputs",
    [
        '{"kind": kind, "shift": shift, "again": kind}',
        '{"kind": kind, "shift": shift, "as it came": left}',
        '{"kind": kind, "shift": shift, "größe": layers.Dense(2)(kind)}',
    ],
    ids=["the same twice", "an input", "a layer inside"],
)
def test_unusual_outputs_are_fine(tmp_path: Path, outputs: str) -> None:
    old = 'return tf.keras.Model([left, right], [kind, layers.Dense(1, name="shift")(both)])'
    assert old in TASK
    new = f'shift = layers.Dense(1, name="shift")(both)\n        return tf.keras.Model([left, right], {outputs})'
    check(TwoOutputs(tmp_path, TASK.replace(old, new)))
