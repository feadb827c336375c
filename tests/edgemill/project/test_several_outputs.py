"""Models with several outputs: the label, the kind of answer, and the metric of each, and one range for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from components.core.errors import EdgemillError
from edgemill.project.data import recognize_data
from edgemill.project.files import write_project
from edgemill.project.found import Options
from edgemill.project.inputs import ModelInput
from edgemill.project.objective import Model
from edgemill.project.plan import Plan, plan
from edgemill.project.unclear import UnclearError
from pipelines.file.load import read_devices

GENERATOR = np.random.default_rng(2)
LEVELS = GENERATOR.uniform(0, 100, [300, 1])
KINDS = (LEVELS[:, 0] // 34).astype(int)
MODEL = Model(
    inputs={"x": ModelInput(shape=(1,), dtype="float32")}, outputs=3, sizes={"kind": 3, "level": 1, "high": 1}
)


def answers(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A model of values as they are: the kind as logits, the level, and the chance of a high one."""
    raw = values["x"] * 1.0
    return {"kind": -np.abs(raw - [[17, 51, 85]]), "level": raw + 1, "high": 1 / (1 + np.exp(-(raw - 50) / 5))}


def arrays(folder: Path, label: str | None, **other: Any) -> Any:
    held = {"x": LEVELS, "kind": KINDS, "level": LEVELS, "high": LEVELS[:, 0] > 50, **other}
    np.savez(folder / "d.npz", **held)
    return recognize_data(folder / "d.npz", Options(label=label))


def table(folder: Path, label: str | None, **other: Any) -> Any:
    columns = {"x": LEVELS[:, 0], "kind": KINDS, "level": LEVELS[:, 0], "high": LEVELS[:, 0] > 50, **other}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    (folder / "t.csv").write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))
    return recognize_data(folder / "t.csv", Options(label=label))


def planned(data: Any, model: Model = MODEL, **options: Any) -> Plan:
    return plan(data, model, Options(**options), answers)


@pytest.mark.parametrize("made", [arrays, table])
@pytest.mark.parametrize("label", ["kind,level,high", "level,high,kind"])
def test_each_output_gets_the_label_of_its_name(made: Callable[..., Any], label: str, tmp_path: Path) -> None:
    found = planned(made(tmp_path, label))
    assert {name: (each.label, each.objective, each.logits, each.shape) for name, each in found.outputs.items()} == {
        "kind": ("kind", "classes", True, ()),
        "level": ("level", "values", False, (1,)),
        "high": ("high", "two_classes", False, (1,)),
    }
    assert found.range == "raw" and "label" not in found.examples
    # 5 % of the standard deviation of the label.
    assert found.outputs["level"].max_loss == pytest.approx(0.05 * LEVELS.std(), rel=0.05)


def test_labels_without_names_of_outputs_are_in_their_order(tmp_path: Path) -> None:
    data = arrays(tmp_path, "a,b,c", a=KINDS, b=LEVELS, c=KINDS > 1)
    model = MODEL.model_copy(update={"inputs": {"x": ModelInput(shape=(1,), dtype="float32")}})
    found = planned(data.model_copy(update={"columns": {"x": "float32"}}), model, scale="raw")
    assert [each.label for each in found.outputs.values()] == ["a", "b", "c"]


def test_pipeline_bounds_each_output_and_the_task_has_a_target_for_each(tmp_path: Path) -> None:
    found = planned(table(tmp_path, "kind,level,high"))
    [device] = read_devices(["phone_cpu"], tmp_path, "devices")
    write_project(tmp_path / "p", found, tmp_path / "m.keras", tmp_path / "t.csv", {"phone_cpu": device})
    written = yaml.safe_load((tmp_path / "p" / "pipeline.yaml").read_text())
    assert written["evaluate"]["metrics"][:2] == [
        {"name": "kind_accuracy", "class_name": "SparseCategoricalAccuracy", "output": "kind"},
        {"name": "level_mean_absolute_error", "class_name": "MeanAbsoluteError", "output": "level"},
    ]
    assert written["evaluate"]["outputs"] == {"kind": "logits", "level": "values", "high": "probabilities"}
    assert [sorted(bound)[0] for bound in written["gate"]["metrics"]] == [
        "max_drop_from_baseline", "max_rise_from_baseline", "max_drop_from_baseline",
    ]  # fmt: skip
    names: dict[str, Any] = {}
    exec((tmp_path / "p" / "task.py").read_text(), names)
    assert [(name, each.label) for name, each in names["TASK"].outputs.items()] == [
        ("kind", "kind"), ("level", "level"), ("high", "high"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (
            "kind,level",
            r"each needs a label .*one for each output: kind, level, high; found: kind",
        ),
        (
            "level,kind,x",
            r"do not match the output .*a class number below 3, or 3 numbers .*found: level",
        ),
    ],
)
def test_labels_that_do_not_fit_the_outputs(tmp_path: Path, label: str, words: str) -> None:
    with pytest.raises(EdgemillError, match=words):
        planned(table(tmp_path, label))


def test_labels_are_suggested_by_the_names_of_the_outputs(tmp_path: Path) -> None:
    with pytest.raises(UnclearError) as raised:
        planned(table(tmp_path, "high"))
    assert (raised.value.option, raised.value.default) == ("label", "kind,level,high")


def test_outputs_that_are_not_better_than_chance_are_refused(tmp_path: Path) -> None:
    shuffled = GENERATOR.permutation(KINDS)
    with pytest.raises(EdgemillError, match="no better than chance"):
        planned(table(tmp_path, "kind,level,high", kind=shuffled))
    assert planned(table(tmp_path, "kind,level,high", kind=shuffled), scale="raw").range == "raw"
