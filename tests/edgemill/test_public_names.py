"""What users import comes from `edgemill`, and costs what it needs only."""

import re
import sys
from pathlib import Path

import edgemill
from components.core.version import _closure
from tests.processes import finished

USERS_FILES = [*Path("docs").rglob("*.md"), Path("README.md"), *Path("pipelines").glob("*/task.py")]


def test_public_names_are_these() -> None:
    assert (
        set(edgemill.__all__)
        == set(edgemill._HOMES)
        == {
            *("Task", "TrainableTask", "CompilingTask", "EdgemillError", "SRU", "Tflite8BitScheme", "LayerPolicy"),
            *("ActivationQuantizer", "FixedQuantizer", "HistogramQuantizer", "LastValueQuantizer"),
            *("MovingAverageQuantizer", "WeightQuantizer", "RatioOfSums", "OneInputTask"),
            *("Input", "SeveralInputsTask", "LabelsTask", "SeveralOutputsTask", "Target"),
        }
    )
    for name in edgemill.__all__:
        assert getattr(edgemill, name).__name__ == name


def test_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    code = "from edgemill import Nothing"
    ran = finished([sys.executable, "-c", code])
    assert ran.returncode == 1 and "cannot import name 'Nothing'" in ran.stderr


def test_names_of_tasks_import_no_tensorflow() -> None:
    code = "import sys; from edgemill import Task, EdgemillError; print('tensorflow' in sys.modules)"
    ran = finished([sys.executable, "-c", code], check=True)
    assert ran.stdout == "False\n"


def test_users_files_import_from_edgemill_only() -> None:
    offenders = [
        f"{path}: {line}"
        for path in USERS_FILES
        for line in re.findall(
            r"^(?:from|import) (?:components|pipelines|kubeflow)\b.*", path.read_text(), re.MULTILINE
        )
    ]
    assert not offenders, "\n".join(offenders)


def test_task_is_versioned_by_the_code_that_it_imports() -> None:
    names = _closure("pipelines.activity.task")
    assert {"edgemill", "components.cells.sru"} <= set(names)
