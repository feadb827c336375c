"""Folders, tables, and labels are checked before a run, without TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter
from scipy.io import wavfile

from components.core.errors import DataError
from pipelines.checks.examples.empty_cells import check_cells
from pipelines.checks.examples.made import empty_classes, structure_errors
from pipelines.checks.preflight import _data_errors
from pipelines.file.spec import Examples


def errors_of(folder: Path, **fields: Any) -> list[str]:
    given = {"kind": "images", "size": [4, 4], "path": str(folder), "label": "label", **fields}
    return list(map(str, _data_errors(TypeAdapter(Examples).validate_python(given))))


def write(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name)
    return folder


def test_folder_without_class_folders_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    [error] = errors_of(write(tmp_path, "a.png", "b.png"), classes=["a", "b"])
    assert "files that match '*/*'" in error and "none; the folder contains a.png, b.png" in error


def test_one_class_is_refused(tmp_path: Path) -> None:
    [error] = errors_of(write(tmp_path, "a/1.png", "a/2.png"), classes=["a", "b"])
    assert "all files are in one class folder" in error and "found: a: 2 files" in error


def test_one_image_is_refused(tmp_path: Path) -> None:
    [error] = errors_of(write(tmp_path, "a/1.png"), classes=["a", "b"])
    assert "1 example cannot be divided into 2 splits" in error


def test_undeclared_classes_are_refused_with_the_line_to_write(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "dog/1.png", "dog/2.png")
    [error] = errors_of(tmp_path)
    assert "write `classes: ['cat', 'dog']`, in the order of your model" in error
    unknown, empty = errors_of(tmp_path, classes=["cat", "bird"])
    assert "classes that are not declared: dog" in unknown and "2 of 3 files" in unknown
    assert "classes have no examples: bird" in empty and "1 of 2 classes" in empty
    assert not errors_of(tmp_path, classes=["cat", "dog"])
    # A model can know more classes than the examples have.
    assert not errors_of(tmp_path, classes=["cat", "bird", "dog"])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("path,kind\na/1.png,x\n", "has no column 'label'"),
        ("path,label\na/1.png,\n", "line 2: the table has a row without 'label'"),
        ("path,label\na/1.png,x\na/3.png,y\n", "files of the table do not exist: a/3.png"),
        ("path,label\na/1.png,x\na/2.png,y\n", "labels are not numbers: 'x', 'y'"),
        ("path,label\na/1.png,1,2\na/2.png,y\n", "line 2: a row has more or fewer cells"),
    ],
)
def test_wrong_table_is_refused(tmp_path: Path, table: str, words: str) -> None:
    (write(tmp_path, "a/1.png", "a/2.png") / "labels.csv").write_text(table)
    [error] = errors_of(tmp_path, layout="table")
    assert words in error and "Remedy: " in error


def test_sounds_of_mixed_rates_are_refused_with_their_counts(tmp_path: Path) -> None:
    for index, rate in enumerate([8000, 8000, 16000, 44100, 16000]):
        (tmp_path / "ab"[index % 2]).mkdir(exist_ok=True)
        wavfile.write(tmp_path / "ab"[index % 2] / f"{index}.wav", rate, np.zeros(80, np.int16))
    given = {"kind": "audio", "path": str(tmp_path), "label": "label", "sample_rate": 8000, "samples": 80}
    examples: Any = TypeAdapter(Examples).validate_python({**given, "classes": ["a", "b"]})
    [error] = structure_errors(examples)
    assert "found: 16000 Hz in 2 files such as " in str(error)
    assert not list(structure_errors(examples.model_copy(update={"resample": True})))


def test_empty_cells_are_counted_for_each_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,note\n1,2,\n,4,\n5,,\n,6,\n")
    with pytest.raises(DataError, match=r"a\.csv: .*x: 2 of 4 rows, in lines 3, 5; y: 1 of 4 rows, in lines 4"):
        check_cells([tmp_path / "a.csv"], ["x", "y"])
    check_cells([tmp_path / "a.csv"], [])


def test_class_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a class occurs twice"):
        errors_of(tmp_path, classes=["a", "a"])
    with pytest.raises(ValueError, match="`classes` names 2 classes, and `num_classes` is a different number"):
        errors_of(tmp_path, classes=["a", "b"], num_classes=3)


@pytest.mark.parametrize(
    ("names", "classes", "empty"),
    [
        (("cat/1.png", "dog/1.png", "dog/2.png"), ["cat", "dog"], []),
        (("cat/1.png", "dog/1.png", "dog/2.png"), ["ant", "cat", "bird", "dog"], ["ant", "bird"]),
    ],
)
def test_declared_classes_that_no_image_has_are_named(
    tmp_path: Path, names: tuple[str, ...], classes: list[str], empty: list[str]
) -> None:
    given = {"kind": "images", "size": [4, 4], "label": "label", "classes": classes}
    assert empty_of(write(tmp_path, *names), given) == empty


def test_declared_classes_that_no_row_of_arrays_has_are_named(tmp_path: Path) -> None:
    given = {
        "kind": "arrays",
        "label": "y",
        "classes": ["0", "1", "2"],
        "splits": {"kind": "hashed", "pattern": "*.npz"},
    }
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 2)), y=np.array([0, 2, 2, 0]))
    assert empty_of(tmp_path, given) == ["1"]
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 2)), y=np.array(["a", "b", "a", "b"]))
    assert empty_of(tmp_path, {**given, "classes": ["b", "c", "a"]}) == ["c"]
    assert empty_of(tmp_path, {"kind": "csv", "label": "y", "num_classes": 3}) == []
    # Only a run knows what a function yields.
    assert empty_of(tmp_path, {"kind": "generator", "function": "m:f", "label": "y", "classes": ["a", "z"]}) == []


def empty_of(folder: Path, given: dict[str, Any]) -> list[str]:
    return empty_classes(TypeAdapter(Examples).validate_python({**given, "path": str(folder)}))
