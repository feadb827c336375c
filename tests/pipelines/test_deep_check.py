from pathlib import Path

import pytest

from pipelines.deep_check import deep_check
from pipelines.load import PipelineFileError
from pipelines.preflight import make_importable, preflight
from tests.small_pipeline import TASK, SmallPipeline


def check(small: SmallPipeline) -> None:
    make_importable(small.write())
    deep_check(preflight(small.file))


def errors_of(small: SmallPipeline) -> str:
    with pytest.raises(PipelineFileError) as caught:
        check(small)
    assert "Remedy: " in str(caught.value)
    return str(caught.value)


def test_whole_pipeline_passes(tmp_path: Path) -> None:
    check(SmallPipeline(tmp_path))


def test_task_that_raises_on_import_is_told_with_its_error(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, "import nowhere_at_all\nTASK = 1\n")
    assert "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'" in errors_of(small)


def test_object_without_the_methods_of_a_task_is_told(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, "TASK = 1\n")
    assert "is not a task: it lacks feature_spec, decode" in errors_of(small)


def test_task_without_build_model_is_told_when_the_baseline_is_trained(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace("def build_model", "def make_model"))
    assert "the task has no build_model and compile" in errors_of(small)


def test_model_that_cannot_be_built_is_told(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace("layers.Flatten()", "layers.Flatten(3, 4, 5)"))
    assert "the task's model cannot be built: TypeError" in errors_of(small)


def test_stateful_model_is_told_with_its_layer(tmp_path: Path) -> None:
    recurrent = "layers.Reshape([4, 8]), layers.LSTM(4, stateful=True, name='memory'),"
    text = TASK.replace("layers.Flatten(),", recurrent).replace("Input([4, 4, 1], ", "Input([4, 4, 1], 1, ")
    said = errors_of(SmallPipeline(tmp_path, text))
    assert "layer memory: the model is stateful" in said
    assert "stateful=False" in said


def test_examples_without_the_label_are_told(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.write_split("eval", 9, seed=1, change=lambda _, features: {"image": features["image"]})
    said = errors_of(small)
    assert "eval.tfrecord: the examples do not have the features that the task declares" in said
    assert "(expected: image, label; found: image)" in said


def test_label_that_the_task_does_not_declare_is_told(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["examples"]["label"] = "class"
    assert "examples.label: the task's feature_spec does not have the label" in errors_of(small)


def test_decode_that_fails_is_told(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace("[-1, 4, 4, 1]", "[-1, 5, 5, 1]"))
    assert "the task's decode fails: InvalidArgumentError" in errors_of(small)


def test_model_that_does_not_take_what_decode_returns_is_told(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace("layers.Input([4, 4, 1]", "layers.Input([5, 5, 1]"))
    said = errors_of(small)
    assert "the model does not take what decode returns" in said
    assert "image (None, 5, 5, 1)" in said


def test_number_of_classes_that_does_not_fit_the_model_is_told(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["examples"]["num_classes"] = 4
    assert (
        "the model's output does not fit the number of classes (expected: 3, as the model has outputs; found: 4)"
        in (errors_of(small))
    )
