"""Regression of several numbers by one output: the labels, the bound, and the task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from components.core.errors import EdgemillError
from components.data.ready_made import Input, LabelsTask
from edgemill.project.data import recognize_data
from edgemill.project.files import write_project
from edgemill.project.found import Options
from edgemill.project.inputs import ModelInput
from edgemill.project.objective import Model
from edgemill.project.plan import Plan, plan
from pipelines.file.load import read_devices

X = np.random.default_rng(4).uniform(-1, 1, [200, 2]).astype(np.float32)
# Deviations of about 6 and 1.
PLACES = np.stack([10 * X[:, 0], 3 + X[:, 0] * X[:, 1] * 3], axis=1)


def arrays(folder: Path, places: Any) -> Path:
    np.savez(folder / "d.npz", x=X, y=places)
    return folder / "d.npz"


def table(folder: Path, places: Any) -> Path:
    lines = ["a,b,left,right", *(",".join(map(str, [*x, *y])) for x, y in zip(X, places, strict=True))]
    (folder / "t.csv").write_text("\n".join(lines))
    return folder / "t.csv"


def parquet(folder: Path, places: Any) -> Path:
    columns = {"a": X[:, 0], "b": X[:, 1], "left": places[:, 0], "right": places[:, 1]}
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def function(folder: Path, places: Any) -> Path:
    np.savez(folder / "held.npz", x=X, y=places)
    (folder / "own_numbers.py").write_text(
        f"import numpy as np\n\ndef rows():\n    held = np.load({str(folder / 'held.npz')!r})\n"
        "    for x, y in zip(held['x'], held['y']):\n        yield {'x': x, 'y': y}\n"
    )
    return Path("own_numbers:rows")


def images(folder: Path, places: Any) -> Path:
    rows = ["path,left,right"]
    for number, (x, (left, right)) in enumerate(zip(X, places, strict=True)):
        Image.fromarray(np.tile(np.uint8(127.5 * (x + 1)), [2, 1])).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{left},{right}")
    (folder / "t.csv").write_text("\n".join(rows))
    return folder / "t.csv"


def exact(x: Any) -> Any:
    return np.stack([10 * x[:, 0], 3 + x[:, 0] * x[:, 1] * 3], axis=1)


def planned(
    data: Path, answer: Callable[[Any], Any] = exact, *, outputs: int = 2, loss: str = "", **options: Any
) -> Plan:
    chosen = Options(**({} if data.suffix in {".npz", ""} else {"label": "left,right"}) | options)
    shape = (2, 2, 1) if (data.parent / "0.png").exists() else (2,)
    model = Model(
        inputs={"x": ModelInput(shape=shape, dtype="float32")}, outputs=outputs, output="place", losses={"place": loss}
    )

    def run(values: dict[str, Any]) -> dict[str, Any]:
        return {"place": answer(values["x"].reshape(len(values["x"]), -1)[:, :2])}

    return plan(recognize_data(data, chosen), model, chosen, run)


@pytest.mark.parametrize("write", [arrays, table, parquet, function, images])
def test_numbers_of_each_kind_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    monkeypatch.chdir(tmp_path)
    found = planned(write(tmp_path, PLACES))
    assert (found.objective, found.metrics, found.targets) == ("values", ("mean_absolute_error",), (2,))
    assert found.range == ("-1..1" if write is images else "raw")
    # 5 % of the average deviation of the labels.
    assert found.max_loss == pytest.approx(0.05 * PLACES.std(axis=0).mean(), rel=0.02)
    assert found.warnings == ()


@pytest.mark.parametrize("write", [arrays, table])
def test_each_number_must_be_better_than_its_median(tmp_path: Path, write: Any) -> None:
    data = write(tmp_path, PLACES)
    # On average over both numbers, this model is better than the medians.
    with pytest.raises(
        EdgemillError, match=r"worse than .*median .*below 0\.\d+; found: raw: 1\.2.* for number 2 of 2"
    ):
        planned(data, lambda x: np.add(exact(x), [0, 1.25]))
    with pytest.raises(EdgemillError, match="order of the model's outputs"):
        planned(data, lambda x: exact(x)[:, ::-1])
    assert planned(data, lambda x: np.add(exact(x), [0, 1.25]), scale="raw").objective == "values"
    constant = write(tmp_path, PLACES * [1, 0])
    assert planned(constant, lambda x: exact(x) * [1, 0.01]).objective == "values"


def test_numbers_that_the_bound_hardly_covers_are_named(tmp_path: Path) -> None:
    [warning] = planned(table(tmp_path, PLACES * [1, 0.01]), lambda x: exact(x) * [1, 0.01]).warnings
    assert "hardly shows errors in right, which" in warning
    [warning] = planned(arrays(tmp_path, PLACES * [1, 0.01]), lambda x: exact(x) * [1, 0.01]).warnings
    assert "hardly shows errors in number 2, which" in warning


@pytest.mark.parametrize(
    ("places", "answer", "loss", "wrong"),
    [
        # A mistake among answers to questions.
        (np.where(PLACES > 4, 2, PLACES > 3), lambda x: 1 / (1 + np.exp(3 - exact(x))), "", "'2'"),
        (np.where(PLACES > 4, 2, PLACES > 3), exact, "binary_crossentropy", "'2'"),
        (np.where(PLACES > 3, 1, -1), lambda x: np.tanh(exact(x) - 3), "", "'-1'"),
    ],
)
@pytest.mark.parametrize("write", [arrays, table])
def test_answers_to_questions_are_no_numbers(
    tmp_path: Path, write: Any, places: Any, answer: Any, loss: str, wrong: str
) -> None:
    data = write(tmp_path, places.astype(int))
    found = f"{wrong} in line" if write is table else "y: an array of 200 x 2"
    with pytest.raises(EdgemillError, match=rf"not all are 0 or 1 .*{found}.*`--objective values`"):
        planned(data, answer, loss=loss)
    assert planned(data, answer, loss=loss, objective="values", scale="raw").objective == "values"


def test_numbers_that_do_not_fit(tmp_path: Path) -> None:
    data = table(tmp_path, PLACES)
    with pytest.raises(EdgemillError, match="2 outputs, one for each label: left, right; found: 3 outputs"):
        planned(data, outputs=3)
    with pytest.raises(EdgemillError, match=r"not all are 0 or 1 .*left: '"):
        planned(data, objective="labels")
    with pytest.raises(EdgemillError, match=r"--objective: the examples have several labels .*labels or values"):
        planned(data, objective="classes")


def test_pipeline_bounds_the_error_and_the_task_predicts_numbers(tmp_path: Path) -> None:
    [device] = read_devices(["phone_cpu"], tmp_path, "devices")
    data = table(tmp_path, PLACES)
    write_project(tmp_path / "p", planned(data), tmp_path / "m.keras", data, {"phone_cpu": device})
    written = yaml.safe_load((tmp_path / "p" / "pipeline.yaml").read_text())
    assert written["evaluate"] == {"split": "eval", "metrics": ["mean_absolute_error"]}
    assert [sorted(bound) for bound in written["gate"]["metrics"]] == [["max_rise_from_baseline", "name"]]
    names: dict[str, Any] = {}
    exec((tmp_path / "p" / "task.py").read_text(), names)
    numbers = Input({"left": "float32", "right": "float32"}, (2,))
    inputs = {"x": Input({"a": "float32", "b": "float32"}, (2,))}
    assert names["TASK"] == LabelsTask(inputs, "place", numbers, objective="values")
