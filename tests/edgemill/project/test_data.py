"""What folders and files of examples are recognized as, without TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import wavfile

from components.core.errors import DataError, EdgemillError
from components.ingest.listing import files_of, items
from components.spec.examples import ImageSource
from edgemill.project.data import recognize_data
from edgemill.project.found import Options

NONE = Options()
MEDIA = ImageSource(kind="images", size=(4, 4))


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


def test_notes_beside_images_of_several_suffixes_are_no_examples(tmp_path: Path) -> None:
    images(tmp_path, "cat/1.png", "dog/1.JPG", "dog/2.jpeg")
    for name in ("cat/notes.txt", "dog/1.xml", "dog/boxes.JSON"):
        (tmp_path / name).write_text("mine")
    found = recognize_data(tmp_path, NONE)
    assert (found.splits["pattern"], found.count) == ("*/*", 3)
    source = MEDIA.model_copy(update={"classes": ("cat", "dog")})
    assert len(items(source, "label", tmp_path, "*/*")) == len(files_of(source, tmp_path, ["*/*"])) == 3
    # Files that look like damaged images, or have another format, are not left out silently.
    (tmp_path / "cat" / "2.heic").write_bytes(b"x")
    assert len(items(source, "label", tmp_path, "*/*")) == 4


def test_folders_of_splits_without_class_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"splits have no class folders .*train/ \(2 files\), test/ \(1 file\)"):
        recognize_data(images(tmp_path, "train/1.png", "train/2.png", "test/1.png"), NONE)
    with pytest.raises(DataError, match=r"all files are in one class folder .*found: .*train/ \(1 file\)"):
        recognize_data(images(tmp_path / "other", "train/1.png"), NONE)


def test_folders_of_splits(tmp_path: Path) -> None:
    found = recognize_data(images(tmp_path, "train/a/1.png", "train/b/1.jpg", "val/a/2.png", "val/b/2.png"), NONE)
    assert found.splits == {"kind": "declared", "patterns": {"train": "train/*/*", "val": "val/*/*"}}
    assert found.classes == ("a", "b") and found.evaluated == "val"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.png", "b.png"], r"the folder has no class folders .*: 2 files, not in folders"),
        (["a.png"], r"the folder has no class folders .*: 1 file, not in folders"),
        (["a/1.png", "a/2.png"], r"all files are in one class folder .*a/ \(2 files\)"),
        ([], "the folder contains no examples of a known kind"),
    ],
)
def test_folder_without_classes_is_refused(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        recognize_data(images(tmp_path, *names), NONE)
    with pytest.raises(DataError, match="there is no such file or folder"):
        recognize_data(tmp_path / "nothing", NONE)


@pytest.mark.parametrize(
    ("name", "words"),
    [("train", r"one level deeper .*train/ \(2\).*--data .*train$"), ("a/train", "no examples of a known kind")],
)
def test_folder_above_the_classes_is_named(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        recognize_data(images(tmp_path, f"{name}/x/1.png", f"{name}/y/1.png"), NONE)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a/1.mp3", "ffmpeg"),
        ("a/1.heic", "convert the images to PNG"),
        ("t.tsv", "rename the file to .csv"),
        ("t.zip", "unpack"),
        ("t.xyz", "kind: tfrecord"),
    ],
)
def test_files_of_other_formats_come_with_advice(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / name).write_bytes(b"x")
    for path in {tmp_path, tmp_path / name if name[0] == "t" else tmp_path}:
        with pytest.raises(DataError, match=f"Remedy: .*{words}"):
            recognize_data(path, NONE)


def test_one_image_is_not_a_folder_of_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found: .*1\.png, a file\).*contains the class folders, not one file"):
        recognize_data(images(tmp_path, "a/1.png") / "a" / "1.png", NONE)


def test_files_of_operating_systems_are_no_examples(tmp_path: Path) -> None:
    images(tmp_path, "a/1.png", "b/1.JPG")
    for name in ("a/Thumbs.db", "a/.DS_Store", "b/desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    assert [item.file.name for item in items(MEDIA, "label", tmp_path, "*/*")] == ["1.png", "1.JPG"]
    (tmp_path / "a" / "empty.png").write_bytes(b"")
    assert len(items(MEDIA, "label", tmp_path, "*/*")) == 3


def test_sounds_need_one_sample_rate(tmp_path: Path) -> None:
    for number, rate in enumerate([8000, 8000, 16000]):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        wavfile.write(tmp_path / "ab"[number % 2] / f"{number}.wav", rate, np.zeros(10, np.int16))
    with pytest.raises(
        DataError, match=r"8000 Hz in 2 files such as .*0\.wav, 16000 Hz in 1 file such as .*2\.wav.*--sample-rate"
    ):
        recognize_data(tmp_path, NONE)
    found = recognize_data(tmp_path, Options(sample_rate=8000))
    assert found.kind == "audio" and found.fields == {"sample_rate": 8000, "resample": True}


def test_table_of_paths_and_labels(tmp_path: Path) -> None:
    images(tmp_path, "all/1.png", "all/2.png")
    (tmp_path / "labels.csv").write_text("filename,class\nall/1.png,x\nall/2.png,y\n")
    found = recognize_data(tmp_path, NONE)
    assert (found.kind, found.label, found.classes) == ("images", "class", ("x", "y"))
    assert found.fields == {"layout": "table", "path_column": "filename"}


def test_table_of_paths_can_be_named_and_other_tables_are_left_out(tmp_path: Path) -> None:
    images(tmp_path, "1.png", "2.png")
    (tmp_path / "weather.csv").write_text("a,label\n1,x\n2,y\n")
    (tmp_path / "photos.csv").write_text("taken,path,label,weight\n2026-01-01,1.png,x,\n2026-01-02,2.png,y,\n")
    for data in (tmp_path, tmp_path / "photos.csv"):
        found = recognize_data(data, NONE)
        assert (found.kind, found.folder, found.classes, found.count) == ("images", tmp_path, ("x", "y"), 2)
        assert found.splits == {"kind": "hashed", "pattern": "photos.csv"}
    assert recognize_data(tmp_path / "weather.csv", NONE).kind == "csv"
    (tmp_path / "photos.csv").write_text("path,label\n3.png,x\n4.png,y\n")
    with pytest.raises(DataError, match=r"none of the files in the table exist .*'3\.png'.*correct the paths"):
        recognize_data(tmp_path / "photos.csv", NONE)


def test_labels_whose_names_contain_commas_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('x,wet,"hot, dry"\n1,0,1\n2,1,0\n')
    found = recognize_data(tmp_path / "t.csv", Options(label='wet, "hot, dry"'))
    assert [*found.labels] == ["wet", "hot, dry"] and [*found.columns] == ["x"]
    assert recognize_data(tmp_path / "t.csv", Options(label="hot, dry")).label == "hot, dry"


def test_classes_come_from_all_tables_of_paths(tmp_path: Path) -> None:
    images(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "train.csv").write_text("path,label\n1.png,x\n2.png,y\n")
    (tmp_path / "test.csv").write_text("path,label\n3.png,z\n")
    found = recognize_data(tmp_path, NONE)
    assert (found.classes, found.count) == (("x", "y", "z"), 3)
    assert found.splits["patterns"] == {"train": "train.csv", "test": "test.csv"}
    (tmp_path / "train.csv").write_text("path,kind\n1.png,x\n")
    with pytest.raises(DataError, match=r"different columns .*path, label; found: path, kind.*add the column 'label'"):
        recognize_data(tmp_path, NONE)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("name,label\n1.png,x\n", "the table has no column of paths .*found: name, label.*rename"),
        ("path,label\n3.png,x\n", "none of the files in the table exist .*'3.png'"),
        ("path,label\n1.png,x\n2.png,\n", "1 row of the table lacks a label .*none in line 3"),
        ("path,label\n1.png,x\n2.png\n", "line 3: a row has more or fewer cells"),
    ],
)
def test_table_beside_images_that_cannot_be_used(tmp_path: Path, table: str, words: str) -> None:
    images(tmp_path, "1.png", "2.png")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=words):
        recognize_data(tmp_path, NONE)
    # With class folders, the table is about something else.
    assert recognize_data(images(tmp_path, "a/1.png", "b/1.png"), NONE).classes == ("a", "b")


def test_table_of_paths_and_several_labels(tmp_path: Path) -> None:
    images(tmp_path, "1.png", "2.png")
    (tmp_path / "labels.csv").write_text("path,cat,dog\n1.png,1,True\n2.png,0,false\n")
    found = recognize_data(tmp_path, Options(label="cat,dog"))
    assert (found.label, found.labels, found.classes) == ("", {"cat": "bool", "dog": "bool"}, ())
    (tmp_path / "labels.csv").write_text("path,cat,dog\n1.png,1,1\n2.png,0,maybe\n")
    with pytest.raises(DataError, match=r"not all are numbers .*dog: 'maybe' in line 3"):
        recognize_data(tmp_path, Options(label="cat,dog"))


def test_table_of_a_spreadsheet(tmp_path: Path) -> None:
    table = '\ufeff"size, cm";note;label\r\n1,5;"a;b";yes\r\n2,25;;no\r\n;;\r\n'
    (tmp_path / "a.csv").write_text(table, newline="")
    found = recognize_data(tmp_path / "a.csv", NONE)
    assert (found.columns, found.classes, found.count) == ({"size, cm": "float32"}, ("no", "yes"), 2)


def test_table_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("h,w,target\n1,2.5,3\n2,3,4\n")
    found = recognize_data(tmp_path / "a.csv", NONE)
    assert found.columns == {"h": "int64", "w": "float32"} and found.label_type == "int64" and not found.classes
    assert recognize_data(tmp_path / "a.csv", Options(label="w", columns=("h",))).label_type == "float32"
    (tmp_path / "a.csv").write_text("2023,on,y\n1,True,red\n2,FALSE,blue\n")
    assert recognize_data(tmp_path / "a.csv", NONE).columns == {"2023": "int64", "on": "bool"}


def test_columns_that_are_no_input_matter_only_if_the_model_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,a,b,y\nn,1,,3\nm,2,5,4\n")
    pq.write_table(pa.table({"name": ["n", "m"], "a": [1, 2], "b": [None, 5.0], "y": [3, 4]}), tmp_path / "a.parquet")
    for file in ("a.csv", "a.parquet"):
        found = recognize_data(tmp_path / file, NONE)
        assert found.columns == {"a": "int64"}
        assert {name: why.reason for name, why in found.unusable.items()} == {"name": "text", "b": "missing values"}
        assert recognize_data(tmp_path / file, Options(columns=("a",))).unusable == {}
        with pytest.raises(DataError, match="other than numbers: name"):
            recognize_data(tmp_path / file, Options(columns=("name", "a")))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("a,label\n1,x\n,y\n", r"columns have missing values: a \(1\)"),
        ("b,label\nred,0\n", "columns contain something other than numbers: b .*'red'.*--columns"),
        (
            "b,label\nyes,0\nno,1\n",
            "other than numbers: b .*or of true and false.*'yes' in line 2.*1 for yes and 0 for",
        ),
        ("b,label\ntrue,0\nmaybe,1\n", "other than numbers: b .*'maybe' in line 3"),
        ("b,label\ntrue,0\n1,1\n", "other than numbers: b .*'1' in line 3"),
        ("a,b\n1,2\n", "it is not clear what the label is .*one of a, b.*--label"),
        ("a,label\n", "the table has no rows"),
        ("a,label\n1,x\nNaN,y\n", r"columns have missing values: a \(1\) .*'NaN' in line 3"),
        ("a,label\n1,x\ninf,y\n", "columns contain something other than numbers: a .*'inf' in line 3"),
        ("a,label\n99999999999999999999,0\n", "columns contain something other than numbers: a"),
        ("a,,label\n0,1,0\n", "column 2 of the table has no name .*name it in the first line"),
        ("a,a,label\n1,2,0\n", "several columns with the name 'a'"),
        ("a, label\n1, 0\n", "begin or end with a space: ' label'"),
        ("1,2,0\n1,2,0\n", "the table has no header line"),
        ("red,52.99,yes\nblue,1.5,no\n", "the table has no header line"),
        ("2024-01-31,3,yes\n2024-02-01,4,no\n", "the table has no header line"),
        ("a,label\n1,0\n1,2,0\n", "line 3: a row has more or fewer cells .*found: 3 cells"),
        ("a,label\n1,0\n1\n", "line 3: a row has more or fewer cells .*found: 1 cell"),
        ("a,label\n1,ä\n".encode("utf-16"), "not a CSV table in UTF-8"),
        ("a,label\n1,ä\n".encode("latin-1"), "not a CSV table in UTF-8"),
        ("a,label\n1," + "x" * 200_000, "line 2: a cell has more than 131,072 characters"),
    ],
)
def test_table_that_only_the_user_can_explain(tmp_path: Path, table: str | bytes, words: str) -> None:
    (tmp_path / "a.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
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
    assert recognize_data(tmp_path, NONE).columns == {"more": "float32", "x": "float32"}
    with pytest.raises(DataError, match=r"there is no array 'z' .*one of more, x"):
        recognize_data(tmp_path, Options(columns=("z",)))
    found = recognize_data(tmp_path, Options(columns=("x",)))
    assert found.columns == {"x": "float32"} and found.fields == {"names": {"x": "x", "label": "label"}}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros([3, 2]), "y": np.zeros(2)}, r"not have one row for each example .*x: \[3, 2\], y: \[2\]"),
        ({"x": np.zeros([3, 2]), "y": np.float64(1)}, r"not have one row .*y: \[\]"),
        ({"x": np.zeros([0, 2]), "y": np.zeros(0)}, "not have one row"),
        ({"x": np.zeros([2, 2]), "y": np.array(["a", None])}, "arrays of Python objects"),
        ({"x": np.zeros([2, 2], complex), "y": np.zeros(2)}, "neither numbers nor labels: x .*complex128"),
        ({"x": np.full([2, 2], np.nan), "y": np.zeros(2)}, "not finite: x .*x: 4 of 4"),
        ({"x": np.zeros([2, 2]), "y": np.array([0, np.inf])}, "not finite: y .*y: 1 of 2"),
        (
            {"x": np.zeros([2, 2]), "y": np.full([2, 5, 2], 2)},
            "several values for each example, and not all are numbers .*2 x 5 x 2",
        ),
        ({"x_train": np.zeros(2), "y_train": np.zeros(2), "x_test": np.zeros(2)}, "there is no array y_test"),
    ],
)
def test_arrays_that_are_no_examples(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=words):
        recognize_data(tmp_path / "d.npz", NONE)


@pytest.mark.parametrize(
    ("labels", "stored"), [(np.uint8, "uint8"), (bool, "int64"), (np.int32, "int64"), (float, "float32")]
)
def test_arrays_of_several_labels(tmp_path: Path, labels: Any, stored: str) -> None:
    held = np.array([[1, 0, 1], [0, 0, 0]], labels)
    np.savez(tmp_path / "d.npz", x=np.zeros([2, 2]), y=held)
    found = recognize_data(tmp_path / "d.npz", NONE)
    assert (found.label, found.labels, found.columns) == ("", {"y": stored}, {"x": "float32"})
    np.savez(tmp_path / "d.npz", x=np.zeros([2, 2]), y=held, z=np.zeros([2, 2, 2]))
    found = recognize_data(tmp_path / "d.npz", Options(label="y,x", columns=("z",)))
    assert (list(found.labels), found.not_binary) == (["y", "x"], "y: an array of 2 x 3")
    with pytest.raises(EdgemillError, match=r"not all are numbers .*found: z: an array of 2 x 2 x 2"):
        recognize_data(tmp_path / "d.npz", Options(label="y,z"))


def test_columns_of_several_labels(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,wet,hot,y\n1,0,true,3\n2,1,false,4\n")
    file = parquet(tmp_path / "t.parquet", a=[1, 2], wet=[0, 1], hot=[True, False], y=[3, 4])
    chosen = Options(label="wet, hot", columns=("a",))
    assert recognize_data(tmp_path / "t.csv", chosen).labels == {"wet": "int64", "hot": "bool"}
    assert recognize_data(file, chosen).labels == {"wet": "int64", "hot": "int64"}
    assert recognize_data(file, Options(label="wet,hot")).columns == {"a": "int64", "y": "int64"}
    for name in ("t.csv", "t.parquet"):
        # A model with several outputs can have such labels.
        found = recognize_data(tmp_path / name, Options(label="wet,y"))
        assert found.not_binary.startswith(("y: '3'", "y: 3"))
        with pytest.raises(DataError, match="no column or array 'wett'"):
            recognize_data(tmp_path / name, Options(label="wett,hot"))


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"\x93NUMPY\x01\x00\xff\xff{"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_damaged_arrays_are_an_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"d{suffix}").write_bytes(content)
    with pytest.raises(DataError, match="not a NumPy file, or is damaged"):
        recognize_data(tmp_path, NONE)


@pytest.mark.parametrize(
    ("labels", "kind", "classes"),
    [
        (np.eye(3)[[2, 0, 1]], "int64", ()),
        (np.array([[1], [0], [2]]), "int64", ()),
        (np.array([b"b", b"a", b"b"]), "int64", ("a", "b")),
        (np.array([1.5, 2, 3], ">f4"), "float32", ()),
    ],
)
def test_labels_of_arrays(tmp_path: Path, labels: Any, kind: str, classes: tuple[str, ...]) -> None:
    np.savez(tmp_path / "d.npz", x=np.asfortranarray(np.zeros([3, 2])), y=labels)
    found = recognize_data(tmp_path / "d.npz", NONE)
    assert (found.label_type, found.classes) == (kind, classes)


def test_archives_and_arrays_of_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name, values in {"x": np.zeros([3, 2]), "y": np.arange(3)}.items():
            (tmp_path / "single").mkdir(exist_ok=True)
            np.save(tmp_path / "single" / f"{name}_{split}.npy", values)
        np.savez(tmp_path / f"{split}.npz", x=np.zeros([3, 2]), y=np.arange(3))
    found = recognize_data(tmp_path, NONE)
    assert found.splits["patterns"] == {"train": "train.npz", "test": "test.npz"}
    found = recognize_data(tmp_path / "single", NONE)
    assert found.splits["patterns"] == {"train": "*.npy", "test": "*.npy"}
    assert found.fields == {"names": {"x": "x_{split}", "y": "y_{split}"}}


def parquet(file: Path, **columns: Any) -> Path:
    file.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), file)
    return file


def test_parquet_tables(tmp_path: Path) -> None:
    file = parquet(tmp_path / "t.parquet", n=[1, 2], x=[0.5, 1.5], on=[True, False], label=["b", "a"])
    found = recognize_data(file, NONE)
    assert (found.kind, found.classes, found.label_type, found.count) == ("parquet", ("a", "b"), "int64", 2)
    assert found.columns == {"n": "int64", "x": "float32", "on": "int64"}
    for split in ("train", "test"):
        parquet(tmp_path / "splits" / f"{split}.parquet", x=[0.5, 1.5], y=[1.0, 2.0])
    found = recognize_data(tmp_path / "splits", NONE)
    assert found.splits["patterns"] == {"train": "train.parquet", "test": "test.parquet"}
    assert (found.label, found.label_type, found.columns) == ("y", "float32", {"x": "float32"})


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x": [1.0, None], "y": [0, 1]}, r"missing values: x \(1\)"),
        ({"x": [1.0, float("inf")], "y": [0, 1]}, r"missing values: x \(1\)"),
        ({"x": [1.0, 2.0], "y": [0, None]}, r"missing values: y \(1\)"),
        ({"x": [{"a": 1}, {"a": 2}], "y": [0, 1]}, "contain something other than numbers: x .*x: struct<a: int64>"),
        ({"x": [[1.0], [2.0]], "y": [0, 1]}, "contain something other than numbers: x .*list"),
        ({"x": ["red", "blue"], "y": [0, 1]}, "contain something other than numbers: x .*x: string"),
        ({"x": [1.0, 2.0]}, "not clear what the label is"),
        ({"x": pa.array([], pa.float32()), "y": pa.array([], pa.int64())}, "the table has no rows"),
    ],
)
def test_parquet_tables_that_are_no_examples(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        recognize_data(parquet(tmp_path / "t.parquet", **columns), NONE)


def test_damaged_parquet_table(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="not a Parquet file, or it is damaged"):
        recognize_data(tmp_path, NONE)
