"""Users' metric functions: what is known of them without running them, and what a run on the first records reports."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.spec.evaluate import EvaluationSpec
from pipelines.checks.preflight import preflight
from pipelines.file.load import PipelineFileError
from pipelines.file.user_folders import make_importable
from tests.small_pipeline import SmallPipeline

OWN = """
import numpy as np

def wrong(predictions, targets):
    (scores,), (labels,) = predictions.values(), targets.values()
    return np.argmax(scores, axis=-1) != labels

wrong.less_is_better = True
wrong.range = (0, 1)

def unknown(predictions, targets):
    return 0 * wrong(predictions, targets) + float("nan")

def doubtful(predictions, targets):
    return wrong(predictions, targets)

doubtful.less_is_better = 1 == 1

class Kept:
    less_is_better: bool = False
    range = (None, 5.0)
"""


def small_with(folder: Path, function: str, bound: dict[str, Any], own: str = OWN, **metric: Any) -> SmallPipeline:
    small = SmallPipeline(folder)
    # As for the task, its own name for each test.
    module = small.spec["task"].partition(":")[0].replace("task", "metric")
    (folder / f"{module}.py").write_text(own)
    small.spec["evaluate"]["metrics"].append({"name": "mine", "function": f"{module}:{function}", **metric})
    small.spec["gate"]["metrics"].append({"name": "mine", **bound})
    return small


def errors_of(small: SmallPipeline) -> str:
    make_importable(small.write())
    with pytest.raises(PipelineFileError) as caught:
        preflight(small.file)
    assert "Remedy: " in str(caught.value)
    return str(caught.value)


def test_direction_and_range_are_read_from_the_code_without_importing_it(tmp_path: Path) -> None:
    small = small_with(tmp_path, "wrong", {"at_most": 0.5}, OWN + "raise RuntimeError('imported')\n")
    make_importable(small.write())
    metric = preflight(small.file).spec.evaluate.metrics[1]
    assert (metric.less_is_better, metric.range) == (True, (0, 1))
    small.spec["evaluate"]["metrics"][1].update(less_is_better=False, range=[None, 3])
    small.spec["gate"]["metrics"][1] = {"name": "mine", "at_least": 2}
    make_importable(small.write())
    metric = preflight(small.file).spec.evaluate.metrics[1]
    assert (metric.less_is_better, metric.range) == (False, (None, 3))
    assert EvaluationSpec.model_validate_json(json.dumps({"metrics": [metric.model_dump()]})).metrics == (metric,)


@pytest.mark.parametrize(
    ("function", "bound", "message"),
    [
        ("wrong", {"at_least": 0.5}, "less of the metric 'mine' is better, so this bound lets the worst values pass"),
        ("wrong", {"at_most": 1.5}, "this bound always holds, regardless of the model (expected: 'mine' ranges from 0"),
        (
            "Kept",
            {"at_least": 5.5},
            "this bound never holds, regardless of the model (expected: 'mine' ranges from",
        ),
        ("doubtful", {"at_most": 1}, "the attribute 'less_is_better' of small_metric_"),
        ("wrongs", {"at_most": 1}, "evaluate.metrics[1].function: the module 'small_metric_"),
    ],
)
def test_bounds_and_attributes_are_checked(tmp_path: Path, function: str, bound: dict[str, Any], message: str) -> None:
    said = errors_of(small_with(tmp_path, function, bound))
    assert said.count(message) == 1


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"name": "mine", "function": "meen_iou"}, "'meen_iou' is not a function; did you mean 'mean_iou'?; use"),
        ({"name": "mine"}, "a metric needs either `class_name` or `function`"),
        ({"name": "mine", "function": "mean_iou", "class_name": "AUC"}, "a metric needs either `class_name` or"),
        ({"name": "mine", "class_name": "AUC", "range": [0]}, "evaluate.metrics[1].range"),
    ],
)
def test_metric_that_is_declared_wrong_is_refused(tmp_path: Path, metric: dict[str, Any], message: str) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["evaluate"]["metrics"].append(metric)
    assert message in errors_of(small)


def test_short_names_of_functions_have_direction_and_range(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["evaluate"]["metrics"] = ["word_error_rate", "coco_map_50", "cosine_similarity"]
    small.spec["gate"]["metrics"] = [
        {"name": "word_error_rate", "at_least": 0.1},
        {"name": "coco_map_50", "at_least": 1.1},
        {"name": "cosine_similarity", "at_least": -0.5},
    ]
    said = errors_of(small)
    assert "less of the metric 'word_error_rate' is better" in said
    assert "(expected: 'coco_map_50' ranges from 0 to 1; found: 1.1)" in said
    assert "'cosine_similarity'" not in said


def test_fewest_float_layers_are_not_chosen_by_a_function(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["recipes"][1]["scheme"] = {"kind": "static_wi8_ai8", "keep_float": "auto"}
    small.spec["evaluate"]["metrics"] = ["step_accuracy"]
    small.spec["gate"]["metrics"] = [{"name": "step_accuracy", "max_drop_from_baseline": 0.1}]
    assert "it measures the first metric on the calibration sample, but 'step_accuracy' is a function" in errors_of(
        small
    )


def test_first_records_are_scored_before_a_run(tmp_path: Path) -> None:
    from pipelines.checks.dry_run import dry_run

    small = small_with(tmp_path, "wrong", {"at_most": 0.5})
    small.spec["evaluate"]["metrics"] += ["step_accuracy", "recall_at_1"]
    make_importable(small.write())
    dry_run(preflight(small.file))
    small.spec["evaluate"]["metrics"][1]["function"] = small.spec["evaluate"]["metrics"][1]["function"].replace(
        "wrong", "unknown"
    )
    make_importable(small.write())
    with pytest.raises(PipelineFileError) as caught:
        dry_run(preflight(small.file))
    said = str(caught.value)
    assert "evaluate.metrics: the metric 'mine' (small_metric_" in said
    assert (
        ":unknown) returns nan for 4 of 4 examples (expected: an array of finite numbers [4], one per example" in said
    )


def test_evaluation_depends_on_the_code_of_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.core.version import forget_versions
    from pipelines.file.environment import environment
    from pipelines.graph.build import build_pipeline

    monkeypatch.syspath_prepend(str(tmp_path))

    small = small_with(tmp_path, "wrong", {"at_most": 0.5})
    make_importable(small.write())
    (metric,) = tmp_path.glob("small_metric_*.py")

    def versions(own: str) -> dict[str, str]:
        metric.write_text(own)
        forget_versions()
        built = build_pipeline(preflight(small.file), environment(tmp_path / "root", None), "1")
        nodes = {node.id: node.exec_properties for node in built.components}
        assert len(nodes["evaluate"]["task_version"].split()) == 2
        return {name: each["task_version"] for name, each in nodes.items() if "task_version" in each}

    before, after = versions(OWN), versions(OWN + "\n\n")
    assert {name.partition("__")[0] for name in before if before[name] != after[name]} == {"evaluate"}
