"""Labels are asked for by the names of a model's outputs before the model is loaded."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgemill.project.data import recognize_data
from edgemill.project.found import Data, Options
from edgemill.project.lists import listed, names_in
from edgemill.project.output_names import output_names, with_outputs_of
from edgemill.project.unclear import UnclearError


def keras(folder: Path, outputs: object) -> Path:
    """A file with the config of a model, and nothing else."""
    with zipfile.ZipFile(folder / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"output_layers": outputs}}))
    return folder / "m.keras"


def recognized(model: Path, data: Path, options: Options) -> Data:
    return with_outputs_of(model, options, lambda given: recognize_data(data, given))


def arrays(folder: Path, columns: dict[str, list[float]]) -> Path:
    np.savez(folder / "d.npz", **{name: np.array(column) for name, column in columns.items()})
    return folder / "d.npz"


def table(folder: Path, columns: dict[str, list[float]]) -> Path:
    lines = [listed(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (folder / "t.csv").write_text("\n".join(lines))
    return folder / "t.csv"


def parquet(folder: Path, columns: dict[str, list[float]]) -> Path:
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        ({"kind": ["a", 0, 0], "size": ["b", 0, 0]}, ("kind", "size")),
        ([["kind", 0, 0], ["size", 0, 0]], ("kind", "size")),
        ([["kind", 0, 0]], ("kind",)),
        (["kind", 0, 0], ()),
        (None, ()),
    ],
)
def test_names_are_those_of_the_config(tmp_path: Path, outputs: object, names: tuple[str, ...]) -> None:
    assert output_names(keras(tmp_path, outputs)) == names
    (tmp_path / "m.keras").write_bytes(b"PK")
    assert output_names(tmp_path / "m.keras") == output_names(tmp_path / "nothing") == ()


@pytest.mark.parametrize(
    ("outputs", "words", "default"),
    [
        (["first", "second"], "one for each output: first, second.*`--label kind,size`", "kind,size"),
        (["kind"], "it is not clear what the label is", "size"),
    ],
)
def test_labels_of_all_outputs_are_asked_for(tmp_path: Path, outputs: list[str], words: str, default: str) -> None:
    np.savez(tmp_path / "d.npz", left=np.zeros([3, 2]), kind=np.arange(3), size=np.arange(3))
    model = keras(tmp_path, [[name, 0, 0] for name in outputs])
    with pytest.raises(UnclearError, match=words) as caught:
        recognized(model, tmp_path / "d.npz", Options())
    assert (caught.value.option, caught.value.default) == ("label", default)


@pytest.mark.parametrize("write", [arrays, table, parquet])
@pytest.mark.parametrize("names", [("size", "kind, nr"), ("kind, nr", "label")])
def test_columns_with_the_names_of_the_outputs_are_their_labels(
    tmp_path: Path, write: Callable[..., Path], names: tuple[str, str]
) -> None:
    data = write(tmp_path, {"left": [1.5, 2, 3], **{name: [0, 1, 2] for name in names}, "right": [1, 2, 3]})
    model = keras(tmp_path, [[name, 0, 0] for name in names])
    found = recognized(model, data, Options())
    assert (list(found.labels), list(found.columns)) == (list(names), ["left", "right"])
    # What the user says counts.
    assert recognized(model, data, Options(label="right")).label == "right"
    with pytest.raises(UnclearError, match="label"):
        recognized(model, data, Options(label="nothing"))
    columns = Options(columns=("left", names[0]))
    if "label" in names:
        assert recognized(model, data, columns).label == "label"
    else:
        with pytest.raises(UnclearError, match=r"--label '.*\"kind, nr\"'") as caught:
            recognized(model, data, columns)
        assert names_in(caught.value.default) == names


def test_mistyped_label_stays_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", left=np.zeros([3, 2]), kind=np.arange(3), size=np.arange(3))
    model = keras(tmp_path, [["kind", 0, 0], ["size", 0, 0]])
    with pytest.raises(UnclearError, match="did you mean kind"):
        recognized(model, tmp_path / "d.npz", Options(label="kindd,size"))
