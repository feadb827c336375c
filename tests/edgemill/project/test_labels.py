"""Labels that no model can be judged by: of one class, of too few classes, or numbers that name no output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.core.errors import EdgemillError
from edgemill.project.data import recognize_data
from edgemill.project.found import Options
from edgemill.project.inputs import ModelInput
from edgemill.project.objective import Model
from edgemill.project.plan import Plan, plan
from edgemill.project.unclear import UnclearError

SIX = "a,b,c,d,e,f"


def one_class(folder: Path, kind: str, label: Any) -> Path:
    """Three examples with one label."""
    match kind:
        case "npz":
            np.savez(folder / "d.npz", x=np.zeros([3, 2]), y=[label] * 3)
            return folder / "d.npz"
        case "csv":
            (folder / "t.csv").write_text(f"x,y\n{f'1,{label}'}\n" + f"2,{label}\n" * 2)
            return folder / "t.csv"
        case "parquet":
            pq.write_table(pa.table({"x": [1, 2, 3], "y": [label] * 3}), folder / "t.parquet")
            return folder / "t.parquet"
        case "generator":
            name = f"one_class_{type(label).__name__}"
            code = f"def rows():\n    for each in range(3):\n        yield {{'x': each, 'y': {label!r}}}\n"
            (folder / f"{name}.py").write_text(code)
            return Path(f"{name}:rows")
        case _:
            for name in "123":
                Image.new("L", (4, 4)).save(folder / f"{name}.png")
            (folder / "labels.csv").write_text("path,y\n" + "".join(f"{name}.png,{label}\n" for name in "123"))
            return folder


@pytest.mark.parametrize("label", ["Merlot", 0, 2.5], ids=str)
@pytest.mark.parametrize("kind", ["npz", "csv", "parquet", "generator", "image table"])
def test_one_class_is_refused_with_its_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, label: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgemillError) as caught:
        recognize_data(one_class(tmp_path, kind, label), Options())
    assert caught.value.what == "all examples have the same label"
    assert caught.value.measured == f"y: {label} in each of 3 examples"
    assert str(caught.value.where).startswith("--data ") and "--label" in caught.value.remedy


def test_one_example_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,0\n")
    with pytest.raises(EdgemillError, match=r"there is only one example .*found: y: 0"):
        recognize_data(tmp_path / "t.csv", Options())


def planned(folder: Path, labels: Any, outputs: int, answers: Any = None, **options: object) -> Plan:
    """The plan for a model with this many outputs, which is always right."""
    places = np.unique(labels, return_inverse=True)[1]
    np.savez(folder / "d.npz", x=np.eye(outputs)[places], y=labels)
    chosen = Options.model_validate(options)
    model = Model(inputs={"x": ModelInput(shape=(outputs,), dtype="float32")}, outputs=outputs)
    return plan(recognize_data(folder / "d.npz", chosen), model, chosen, lambda values: {"": values["x"] * 0.9 + 0.01})


def test_classes_without_examples_are_asked_for_and_accepted_with_a_warning(tmp_path: Path) -> None:
    labels = ["a", "b"] * 50
    with pytest.raises(UnclearError, match=r"more outputs than .*6 classes, .*found: 2: a, b.*--classes") as caught:
        planned(tmp_path, labels, 6)
    assert (caught.value.option, "remove" in caught.value.remedy) == ("classes", False)
    found = planned(tmp_path, labels, 6, classes=tuple(SIX.split(",")))
    assert found.examples["classes"] == SIX.split(",") and found.objective == "classes"
    assert found.warnings == ("there are no examples of c, d, e, f, so the run can't measure these classes",)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("a", "x", "c"), "these are not the classes .*there is no b$"),
        (("a", "b", "b"), "listed twice: b"),
        (("a", "B"), "there is no b, but B$"),
    ],
)
def test_list_that_lacks_a_class_of_the_examples_is_refused(
    tmp_path: Path, classes: tuple[str, ...], words: str
) -> None:
    with pytest.raises(EdgemillError, match=words):
        planned(tmp_path, ["a", "b"] * 50, 3, classes=classes)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([-1, 0] * 60, "whole numbers from 0 to 2; found: y: -1, 0..*number the classes from 0 to 2"),
        ([0, 4] * 60, "found: y: 0, 4.*number the classes from 0"),
        ([0.5, 1, 1.5] * 40, r"found: y: 0\.5, 1, 1\.5.*number the classes from 0"),
        ([0, 1, 2, 3] * 30, "an output for each label from 0 to 3; found: 3 outputs.*remove the folders or rows"),
    ],
)
def test_numbers_that_name_no_output(tmp_path: Path, labels: list[float], words: str) -> None:
    with pytest.raises(EdgemillError, match=words):
        np.savez(tmp_path / "d.npz", x=np.zeros([len(labels), 2]), y=labels)
        model = Model(inputs={"x": ModelInput(shape=(2,), dtype="float32")}, outputs=3)
        plan(recognize_data(tmp_path / "d.npz", Options()), model, Options(), lambda values: values)


def test_bound_that_no_accuracy_reaches_is_said_as_too_few_examples(tmp_path: Path) -> None:
    with pytest.raises(EdgemillError, match=r"^--data: there are too few examples .*2 examples, 50%.*accuracy: raw: 1"):
        planned(tmp_path, [0, 1], 2)


def test_chance_on_a_table_points_to_the_order_of_its_columns(tmp_path: Path) -> None:
    rows = "".join(f"{number % 2},{number % 3},{number % 2}\n" for number in range(120))
    (tmp_path / "t.csv").write_text(f"b,a,y\n{rows}")
    model = Model(inputs={"x": ModelInput(shape=(2,), dtype="float32")}, outputs=2)

    def run(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"": np.eye(2)[(values["x"][:, 1] > 0).astype(int)]}

    with pytest.raises(EdgemillError, match=r"^--columns: .*no better than chance .*--columns \(tried: b, a\)"):
        plan(recognize_data(tmp_path / "t.csv", Options()), model, Options(), run)


@pytest.mark.parametrize("sizes", [{}, {"level": 1, "other": 1}])
def test_numbers_that_are_worse_than_the_median_are_refused(tmp_path: Path, sizes: dict[str, int]) -> None:
    level = np.arange(200.0)
    np.savez(tmp_path / "d.npz", x=level[:, None], level=level, other=level)
    given = Options(label="level,other" if sizes else "level", columns=("x",))
    model = Model(inputs={"x": ModelInput(shape=(1,), dtype="float32")}, outputs=1, output="level", sizes=sizes)

    def found(offset: float, options: Options = given) -> Plan:
        data = recognize_data(tmp_path / "d.npz", options)
        return plan(data, model, options, lambda each: dict.fromkeys(("level", "other"), each["x"] + offset))

    assert found(40).objective == "values"
    with pytest.raises(EdgemillError, match=r"^--scale: .*than always .*below 50; found: raw: 60, on 200.*the unit"):
        found(60)
    assert found(60, given.model_copy(update={"scale": "raw"})).range == "raw"
