"""Labels that are numbers other than 0, 1, 2, ...: one output for -1 and 1, and an output for each of 1, 2, 3."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.core.errors import EdgemillError
from components.data.ready_made import Target
from components.ingest.listing import class_number, items, label_errors
from components.spec.examples import ImageSource
from edgemill.project.data import recognize_data
from edgemill.project.found import Options
from edgemill.project.inputs import ModelInput
from edgemill.project.objective import Model
from edgemill.project.output_names import losses_of
from edgemill.project.plan import Plan, plan
from edgemill.project.unclear import UnclearError

LEVELS = np.random.default_rng(3).uniform(-1, 1, 200)
HIGH = LEVELS > 0


def arrays(folder: Path, labels: Any) -> Path:
    np.savez(folder / "d.npz", x=LEVELS[:, None], y=labels)
    return folder / "d.npz"


def table(folder: Path, labels: Any) -> Path:
    rows = "".join(f"{x},{y}\n" for x, y in zip(LEVELS, labels.tolist(), strict=True))
    (folder / "t.csv").write_text(f"x,y\n{rows}")
    return folder / "t.csv"


def parquet(folder: Path, labels: Any) -> Path:
    pq.write_table(pa.table({"x": LEVELS, "y": labels}), folder / "t.parquet")
    return folder / "t.parquet"


def planned(data: Path, answer: Callable[[Any], Any], *, outputs: int = 1, loss: str = "", **options: Any) -> Plan:
    """The plan for a model that answers with a function of the level."""
    chosen = Options(**options)
    model = Model(inputs={"x": ModelInput(shape=(1,), dtype="float32")}, outputs=outputs, losses={"": loss})
    return plan(recognize_data(data, chosen), model, chosen, lambda values: {"": answer(values["x"])})


def sigmoid(level: Any) -> Any:
    return 1 / (1 + np.exp(-9 * level))


def classes_of(found: Plan) -> tuple[Any, ...]:
    return (found.objective, found.examples.get("classes"), found.data.label_type, found.logits, found.metrics)


@pytest.mark.parametrize("write", [arrays, table, parquet])
@pytest.mark.parametrize("kind", [np.int64, np.float32])
@pytest.mark.parametrize(
    ("low", "answer", "loss", "logits"),
    [
        (-1, lambda level: np.tanh(9 * level), "mse", True),
        (-1, sigmoid, "", False),
        (1, sigmoid, "", False),
        (-1, lambda level: 2 * level, "hinge", True),
        (1, lambda level: 9 * level, "BinaryCrossentropy", True),
    ],
)
def test_two_values_and_an_answer_of_a_classifier(
    tmp_path: Path, write: Any, kind: Any, low: int, answer: Any, loss: str, logits: bool
) -> None:
    found = planned(write(tmp_path, np.where(HIGH, low + (2 if low < 0 else 1), low).astype(kind)), answer, loss=loss)
    names = ["-1", "1"] if low < 0 else ["1", "2"]
    assert classes_of(found) == ("two_classes", names, "int64", logits, ("binary_accuracy",))


@pytest.mark.parametrize(("high", "loss"), [(1, ""), (1, "mse"), (0.5, "")])
def test_two_values_and_an_answer_that_can_be_a_number_are_asked_about(tmp_path: Path, high: float, loss: str) -> None:
    data = arrays(tmp_path, np.where(HIGH, high, -high))

    def answer(level: Any) -> Any:
        return high * np.tanh(9 * level) * 1.5

    with pytest.raises(
        UnclearError, match=rf"labels -{high:g} and {high:g} \(y\), and outputs from -\d.*`--obj"
    ) as asked:
        planned(data, answer, loss=loss)
    assert (asked.value.option, asked.value.default) == ("objective", "two_classes")
    assert planned(data, answer, objective="two_classes").objective == "two_classes"
    assert planned(data, answer, classes=(f"-{high:g}", f"{high:g}")).objective == "two_classes"
    number = planned(data, answer, objective="values")
    assert (number.objective, number.examples.get("classes")) == ("values", None)


def test_loss_shows_what_outputs_near_0_and_1_are(tmp_path: Path) -> None:
    data = arrays(tmp_path, HIGH.astype(int))
    with pytest.raises(UnclearError, match="labels 0 and 1"):
        planned(data, lambda level: level / 2)
    assert planned(data, lambda level: level / 2, loss="binary_crossentropy").logits


def test_reversed_order_is_found_and_accepted(tmp_path: Path) -> None:
    data = arrays(tmp_path, np.where(HIGH, -1, 1))
    with pytest.raises(UnclearError, match=r"different order .*--classes 1,-1"):
        planned(data, sigmoid)
    assert planned(data, sigmoid, classes=("1", "-1")).examples["classes"] == ["1", "-1"]


def test_two_classes_cannot_have_three_values(tmp_path: Path) -> None:
    with pytest.raises(EdgemillError, match=r"--objective: the labels are not those of two .*found: y: 3 different"):
        planned(arrays(tmp_path, np.arange(200) % 3), sigmoid, objective="two_classes")


@pytest.mark.parametrize("write", [arrays, table, parquet])
def test_each_number_has_an_output(tmp_path: Path, write: Any) -> None:
    places = np.digitize(LEVELS, [-0.3, 0.3])

    def answer(level: Any) -> Any:
        return np.eye(3)[np.digitize(level[:, 0], [-0.3, 0.3])]

    found = planned(write(tmp_path, np.array([10, 20, 40])[places]), answer, outputs=3)
    assert classes_of(found)[:3] == ("classes", ["10", "20", "40"], "int64")
    assert "in 3 classes: 10, 20, 40" in found.facts[0]
    # Numbers from 0 are those of the outputs, even if some have no examples.
    rest = planned(write(tmp_path, 1 + places), lambda level: np.eye(4)[1 + answer(level).argmax(axis=1)], outputs=4)
    assert (rest.examples.get("classes"), rest.examples["num_classes"]) == (None, 4)


def test_numbers_in_a_table_of_images_are_classes(tmp_path: Path) -> None:
    rows = ["path,label"]
    for number, level in enumerate(LEVELS[:60]):
        Image.new("L", (2, 2), int(level > 0) * 255).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'1.0' if level > 0 else -1}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    model = Model(inputs={"x": ModelInput(shape=(2, 2, 1), dtype="float32")}, outputs=1)
    data = recognize_data(tmp_path, Options())
    found = plan(data, model, Options(), lambda values: {"": np.tanh(values["x"][:, 0, 0] - 0.5)})
    assert found.examples["classes"] == ["-1", "1"]
    source = ImageSource(kind="images", size=(2, 2), channels=1, layout="table", classes=("-1", "1"))
    assert not [*label_errors(source, {"all": items(source, "label", tmp_path, "t.csv")})]


@pytest.mark.parametrize("label", [-1, -1.0, "-1", "-1.0", b"-1.0", np.float32(-1)])
def test_class_is_found_by_its_number(label: Any) -> None:
    assert class_number(label, ("1", "-1"), "x") == 1
    with pytest.raises(EdgemillError, match=r"not declared .*found: 'nan'"):
        class_number("nan", ("1", "NaN"), "x")


def test_one_of_several_outputs_becomes_0_and_1(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=LEVELS[:, None], sign=np.where(HIGH, 1, -1), level=3 * LEVELS)
    sizes = {"sign": 1, "level": 1}
    model = Model(inputs={"x": ModelInput(shape=(1,), dtype="float32")}, outputs=1, sizes=sizes)
    options = Options(label="sign,level")

    def run(values: dict[str, Any]) -> dict[str, Any]:
        return {"sign": np.tanh(9 * values["x"]), "level": 3 * values["x"]}

    found = plan(recognize_data(tmp_path / "d.npz", options), model, options, run).outputs
    assert {name: (each.objective, each.logits) for name, each in found.items()} == {
        "sign": ("two_classes", True),
        "level": ("values", False),
    }
    target = Target("sign", "two_classes", "int64", (1,), scale=found["sign"].scale, offset=found["sign"].offset)
    assert target.made.decode({"sign": np.array([[-1], [1]])}).numpy().tolist() == [[0], [1]]


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1)])
def test_one_of_several_outputs_that_can_be_a_number_is_asked_about(tmp_path: Path, low: int, high: int) -> None:
    np.savez(tmp_path / "d.npz", x=LEVELS[:, None], sign=np.where(HIGH, high, low), chance=HIGH)
    model = Model(inputs={"x": ModelInput(shape=(1,), dtype="float32")}, outputs=1, sizes={"sign": 1, "chance": 1})

    def run(values: dict[str, Any]) -> dict[str, Any]:
        return {"sign": (low + high) / 2 + values["x"] * (high - low), "chance": sigmoid(values["x"])}

    def objectives(loss: str = "", **more: Any) -> list[str]:
        options = Options(label="sign,chance", **more)
        own = model.model_copy(update={"losses": {"sign": loss}})
        found = plan(recognize_data(tmp_path / "d.npz", options), own, options, run).outputs
        return [each.objective for each in found.values()]

    with pytest.raises(UnclearError, match=rf"labels {low} and {high} \(sign\), and outputs .*`--obj") as asked:
        objectives()
    assert asked.value.option == "objective"
    assert objectives(objective="values") == ["values", "two_classes"]
    assert objectives(objective="two_classes") == objectives("hinge") == ["two_classes", "two_classes"]


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        ("hinge", "hinge"),
        ({"module": "keras.losses", "class_name": "BinaryCrossentropy", "config": {}}, "BinaryCrossentropy"),
        ({"class_name": "function", "config": "hinge"}, "hinge"),
        ({"out": "mse"}, "mse"),
        (["mse"], "mse"),
        ({"a": "mse", "b": "mse"}, ""),
        (None, ""),
    ],
)
def test_loss_of_a_keras_file(tmp_path: Path, loss: Any, name: str) -> None:
    import h5py

    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"compile_config": {"loss": loss}}))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["training_config"] = json.dumps({"loss": loss})
    files = ("m.keras", "m.h5", "nothing")
    assert [losses_of(tmp_path / file, ("out",))["out"] for file in files] == [name, name, ""]


def test_many_numbers_are_not_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros([2000, 1]), y=np.arange(2000))
    assert recognize_data(tmp_path / "d.npz", Options()).numbers == ()
