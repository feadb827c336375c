"""What folders and files of examples are recognized as, without TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from components.core.errors import DataError
from edgemill.project.data import recognize_data
from edgemill.project.found import Options

NONE = Options()


def images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name)
    return folder


def test_class_folders_of_images(tmp_path: Path) -> None:
    images(tmp_path, "dog/1.png", "cat/1.png", "cat/2.png")
    (tmp_path / "cat" / "notes.txt").write_text("mine")
    found = recognize_data(tmp_path, NONE)
    assert (found.kind, found.classes, found.count) == ("images", ("cat", "dog"), 3)
    assert found.splits == {"kind": "hashed", "pattern": "*/*.png"} and found.evaluated == "eval"
    assert not found.fields
    assert recognize_data(tmp_path, Options(max_unreadable=0.1)).fields == {"max_unreadable": 0.1}


def test_folders_of_splits(tmp_path: Path) -> None:
    found = recognize_data(images(tmp_path, "train/a/1.png", "train/b/1.jpg", "val/a/2.png", "val/b/2.png"), NONE)
    assert found.splits == {"kind": "declared", "patterns": {"train": "train/*/*", "val": "val/*/*"}}
    assert found.classes == ("a", "b") and found.evaluated == "val"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.png", "b.png"], "the folder has no class folders"),
        (["a/1.png", "a/2.png"], r"all files are in one class folder .*a/ \(2\)"),
        ([], "the folder holds no examples of a known kind"),
    ],
)
def test_folder_without_classes_is_refused(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        recognize_data(images(tmp_path, *names), NONE)
    with pytest.raises(DataError, match="there is no such file or folder"):
        recognize_data(tmp_path / "nothing", NONE)


def test_sounds_need_one_sample_rate(tmp_path: Path) -> None:
    for number, rate in enumerate([8000, 8000, 16000]):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        wavfile.write(tmp_path / "ab"[number % 2] / f"{number}.wav", rate, np.zeros(10, np.int16))
    with pytest.raises(DataError, match=r"8000 Hz in 2 files, 16000 Hz in 1 file.*--sample-rate"):
        recognize_data(tmp_path, NONE)
    found = recognize_data(tmp_path, Options(sample_rate=8000))
    assert found.kind == "audio" and found.fields == {"sample_rate": 8000, "resample": True}


def test_table_of_paths_and_labels(tmp_path: Path) -> None:
    images(tmp_path, "all/1.png", "all/2.png")
    (tmp_path / "labels.csv").write_text("filename,class\nall/1.png,x\nall/2.png,y\n")
    found = recognize_data(tmp_path, NONE)
    assert (found.kind, found.label, found.classes) == ("images", "class", ("x", "y"))
    assert found.fields == {"layout": "table", "path_column": "filename"}


def test_table_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("h,w,target\n1,2.5,3\n2,3,4\n")
    found = recognize_data(tmp_path / "a.csv", NONE)
    assert found.columns == {"h": "int64", "w": "float32"} and found.label_type == "int64" and not found.classes
    assert recognize_data(tmp_path / "a.csv", Options(label="w", columns=("h",))).label_type == "float32"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("a,label\n1,x\n,y\n", r"columns have empty cells: a \(1\)"),
        ("a,b,label\n1,red,0\n", "columns hold text: b .*'red'.*--columns"),
        ("a,b\n1,2\n", "it is not clear what the label is .*one of a, b.*--label"),
        ("a,label\n", "the table has no rows"),
    ],
)
def test_table_that_only_the_user_can_explain(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(table)
    with pytest.raises(DataError, match=words):
        recognize_data(tmp_path / "a.csv", NONE)


@pytest.mark.parametrize("text", [False, True])
def test_arrays_with_splits_in_their_names(tmp_path: Path, text: bool) -> None:
    labels: Any = ["b", "a"] if text else [1, 0]
    images_of = np.zeros([2, 4, 4], np.uint8)
    np.savez(tmp_path / "d.npz", x_train=images_of, y_train=labels, x_test=images_of, y_test=labels)
    found = recognize_data(tmp_path / "d.npz", NONE)
    assert found.columns == {"x": "uint8"} and found.label == "y" and found.evaluated == "test"
    assert found.fields == {"names": {"x": "x_{split}", "y": "y_{split}"}}
    assert found.classes == (("a", "b") if text else ())


def test_folder_of_arrays(tmp_path: Path) -> None:
    for name, values in {"x": np.zeros([3, 2]), "more": np.zeros(3), "label": np.arange(3)}.items():
        np.save(tmp_path / f"{name}.npy", values)
    with pytest.raises(DataError, match=r"it is not clear which array is the input .*one of more, x"):
        recognize_data(tmp_path, NONE)
    found = recognize_data(tmp_path, Options(columns=("x",)))
    assert found.columns == {"x": "float32"} and found.fields == {"names": {"x": "x", "label": "label"}}
