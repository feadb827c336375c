"""The files that `edgemill init` writes are Python and YAML, whatever the names of columns and files."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.core.errors import SpecError
from components.data.ready_made import Input, LabelsTask, OneInputTask, SeveralInputsTask, Stored
from components.spec.devices.device import DeviceProfile
from edgemill.project.files import PIPELINE, README, TASK, _shown, refuse_existing, write_project
from edgemill.project.found import Data
from edgemill.project.inputs import PlannedInput
from edgemill.project.plan import Plan
from edgemill.project.scales import Scale
from pipelines.file.load import shipped_devices

PIXELS = PlannedInput(
    features={"image": "uint8"}, shape=(4, 4, 1), dtype="float32", ranges=(Scale("0..1", 1 / 255, 0),)
)
COLUMNS = PlannedInput(
    features={"driver's age": "int64", 'a "b" \\n': "float32"},
    shape=(2,),
    dtype="float32",
    ranges=(Scale("raw", (1.0, 0.5), (0.0, -1.0)),),
)


def written(
    folder: Path, *inputs: PlannedInput, name: str = "my.keras", labels: dict[str, Stored] | None = None
) -> tuple[dict[str, Any], Any]:
    data = Data(kind="arrays", folder=folder, label="it's", labels=labels or {}, label_type="float32",
                splits={"kind": "hashed"}, count=9)  # fmt: skip
    named = dict(zip(("first", 'the "second"'), inputs, strict=False))
    plan = Plan(
        data=data,
        examples={"kind": "arrays", "splits": data.splits, "label": data.label},
        inputs=named,
        output='the "output"',
        targets=(len(labels),) if labels else (),
        objective="labels" if labels else "values",
        metrics=("binary_accuracy", "auc") if labels else ("mean_absolute_error",),
        range="0..1",
        logits=False,
        max_loss=0.02,
        facts=("found",),
    )
    profile = DeviceProfile.model_validate(yaml.safe_load(shipped_devices()["cortex_m55"].read_text()))
    write_project(folder / "out", plan, folder / name, folder / f"data{name}", {"cortex_m55": profile})
    held: dict[str, Any] = {}
    exec((folder / "out" / TASK).read_text(), held)
    return yaml.safe_load((folder / "out" / PIPELINE).read_text()), held["TASK"]


def test_task_of_one_input(tmp_path: Path) -> None:
    pipeline, task = written(tmp_path, COLUMNS)
    assert task == OneInputTask(
        dict(COLUMNS.features), (2,), "values", "it's", "float32", scale=(1.0, 0.5), offset=(0.0, -1.0)
    )
    assert pipeline["examples"]["label"] == "it's" and pipeline["baseline"]["path"] == "../my.keras"


def test_task_of_several_labels(tmp_path: Path) -> None:
    pipeline, task = written(tmp_path, PIXELS, labels={"it's": "int64", "on": "bool"})
    assert task == LabelsTask(
        {"first": Input({"image": "uint8"}, (4, 4, 1), scale=1 / 255)},
        'the "output"',
        Input({"it's": "int64", "on": "bool"}, (2,)),
    )
    assert [each["name"] for each in pipeline["gate"]["metrics"]] == pipeline["evaluate"]["metrics"]


def test_task_of_several_inputs(tmp_path: Path) -> None:
    _, task = written(tmp_path, PIXELS, COLUMNS)
    assert task == SeveralInputsTask(
        {
            "first": Input({"image": "uint8"}, (4, 4, 1), scale=1 / 255),
            'the "second"': Input(dict(COLUMNS.features), (2,), (1.0, 0.5), (0.0, -1.0)),
        },
        "values",
        "it's",
        "float32",
    )


@pytest.mark.parametrize("name", ['"""\nraise SystemExit(7)\n"""', "a\nname: other", "\\"])
def test_names_of_files_are_neither_code_nor_fields(tmp_path: Path, name: str) -> None:
    pipeline, task = written(tmp_path, PIXELS, name=name)
    assert isinstance(task, OneInputTask) and pipeline["name"] == "out"
    assert (tmp_path / "out" / README).read_text().count("\n# ") == 0


def test_working_directory_is_shown_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounds").mkdir()
    monkeypatch.chdir(tmp_path / "sounds")
    assert _shown(Path()) == "sounds" and _shown(Path("..")) == tmp_path.name and _shown(Path("/")) == "/"


def test_existing_pipeline_is_run_instead_of_written_again(tmp_path: Path) -> None:
    written(tmp_path, PIXELS)
    with pytest.raises(
        SpecError, match=r"doesn't overwrite files .*Remedy: run them with `edgemill run .*/pipeline\.yaml`"
    ):
        refuse_existing(tmp_path / "out")
