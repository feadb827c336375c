"""Examples that Edgemill makes: listed, labeled, split by a seed, and read by one ExampleGen executor."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pydantic import TypeAdapter
from scipy.io import wavfile
from tfx.types.standard_artifacts import Examples as ExamplesArtifact

from components.core.errors import DataError, EdgemillError
from components.facts.left_out import LEFT_OUT, LEFT_OUT_PROPERTY, LeftOut
from components.ingest.made import MadeExecutor
from components.ingest.sources import described
from pipelines.checks.examples.made import samples, structure_errors
from pipelines.file.spec import Examples
from pipelines.file.user_folders import make_importable
from pipelines.graph.ingest import _example_gen

HALVES = {"kind": "hashed", "buckets": {"train": 1, "eval": 1}}


def examples_of(folder: Path, **fields: Any) -> Any:
    return TypeAdapter(Examples).validate_python({"path": str(folder), "label": "label", **fields})


def ingested(
    examples: Any, folder: Path, digests: str | None = None, recorded: list[LeftOut] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Run the executor with the properties of the node, and return the rows of each split.

    What it records of files that it left out is added to `recorded`.
    """
    properties = dict(_example_gen(examples, digests).exec_properties)
    artifact = ExamplesArtifact()
    artifact.uri = str(folder / "examples")
    context = MadeExecutor.Context(beam_pipeline_args=["--direct_num_workers=1"], tmp_dir=str(folder), unique_id="1")
    MadeExecutor(context).Do({}, {"examples": [artifact]}, properties)
    if recorded is not None and artifact.has_custom_property(LEFT_OUT_PROPERTY):
        recorded += LEFT_OUT.validate_json(artifact.get_string_custom_property(LEFT_OUT_PROPERTY))
    assert {each.name for each in Path(artifact.uri).iterdir()} == {f"Split-{name}" for name in examples.splits.names}
    found: dict[str, list[dict[str, Any]]] = {}
    for split in examples.splits.names:
        files = sorted(str(file) for file in (folder / "examples" / f"Split-{split}").iterdir())
        records = tf.data.TFRecordDataset(files, compression_type="GZIP")
        found[split] = [row(tf.train.Example.FromString(record)) for record in records.as_numpy_iterator()]
    return found


def row(example: Any) -> dict[str, Any]:
    held = {name: getattr(each, each.WhichOneof("kind")).value for name, each in example.features.feature.items()}
    return {name: values[0] if len(values) == 1 else list(values) for name, values in held.items()}


def write_images(folder: Path, count: int = 12) -> Path:
    """Gray images of two brightness classes, of several sizes."""
    for label, level in (("dark", 40), ("light", 200)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("L", (4 + index % 3, 5), level + index).save(folder / label / f"{index}.png")
    return folder


IMAGES = {"kind": "images", "size": [5, 4], "channels": 1, "classes": ["light", "dark"], "splits": HALVES}


def test_images_without_a_label_are_pixels_alone(tmp_path: Path) -> None:
    given = {**IMAGES, "label": ""}
    del given["classes"]
    examples = examples_of(write_images(tmp_path / "images"), **given)
    assert not list(structure_errors(examples))
    assert {tuple(each) for split in ingested(examples, tmp_path).values() for each in split} == {("image",)}
    (tmp_path / "images" / "list.csv").write_text("path,place\ndark/0.png,a\nlight/1.png,b\n")
    table = examples_of(tmp_path / "images", **given, layout="table")
    assert not list(structure_errors(table))
    assert [sorted(each) for sample in samples(table) for each in sample.rows] == [["image", "place"]] * 2


def test_images_become_pixels_and_class_numbers(tmp_path: Path) -> None:
    examples = examples_of(write_images(tmp_path / "images"), **IMAGES)
    assert examples.num_classes == 2 and not list(structure_errors(examples))
    found = ingested(examples, tmp_path)
    rows = found["train"] + found["eval"]
    assert len(rows) == 24 and min(len(each) for each in found.values()) >= 6
    levels = {(int(np.frombuffer(each["image"], np.uint8)[0]), each["label"]) for each in rows}
    assert levels == {(40 + index, 1) for index in range(12)} | {(200 + index, 0) for index in range(12)}
    assert {len(each["image"]) for each in rows} == {20}
    # The same files give the same splits, and another seed gives others.
    reseeded = examples_of(tmp_path / "images", **IMAGES, split_seed=1)
    other = ingested(reseeded, tmp_path / "other")
    assert {each["image"] for each in other["train"]} != {each["image"] for each in found["train"]}


def test_damaged_images_end_the_run_with_count_and_names_unless_their_share_is_allowed(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images")
    for index in (3, 7):
        (folder / "dark" / f"{index}.png").write_bytes(b"no image")
    strict = examples_of(folder, **IMAGES)
    words = r"2 files cannot be decoded: .*dark/3\.png.*dark/7\.png.*at most 0 of 24 files.*found: 2, 8\.3%"
    with pytest.raises(DataError, match=words):
        list(samples(strict))
    with pytest.raises(Exception, match=words):
        ingested(strict, tmp_path)
    recorded: list[LeftOut] = []
    found = ingested(examples_of(folder, **IMAGES, max_unreadable=0.1), tmp_path / "lenient", recorded=recorded)
    assert Counter(each["label"] for rows in found.values() for each in rows) == {0: 12, 1: 10}
    [one] = recorded
    assert one.sentence == "2 damaged files of 24 left out: 8.33%, at most 10.00% allowed"
    assert [name.partition(" (")[0] for name in one.first] == [str(folder / "dark" / f"{n}.png") for n in (3, 7)]


def test_files_left_out_are_counted_for_each_declared_split(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images")
    (folder / "dark" / "3.png").write_bytes(b"no image")
    splits = {"kind": "declared", "patterns": {"train": "*/[0-5].png", "eval": "*/[6-9].png"}}
    recorded: list[LeftOut] = []
    ingested(examples_of(folder, **{**IMAGES, "splits": splits}, max_unreadable=0.1), tmp_path, recorded=recorded)
    assert [(one.split, one.files, one.damaged) for one in recorded] == [("train", 12, 1)]


def test_images_that_change_while_they_are_read_end_the_run(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 2)
    before = described({f"{label}/{n}.png": "sha256 old" for label in ("dark", "light") for n in (0, 1)})
    with pytest.raises(DataError, match=r"changed while the run read them: dark/0\.png"):
        ingested(examples_of(folder, **IMAGES), tmp_path, before)


def test_table_has_paths_labels_and_columns_to_split_by(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 4)
    lines = [f"dark/{n}.png,{n / 2},cam{n}" for n in range(4)] + [f"light/{n}.png,{n + 10},cam{n}" for n in range(4)]
    (folder / "table.csv").write_text("\n".join(["file,label,camera", *lines]))
    examples = examples_of(
        folder, kind="images", size=[5, 4], layout="table", path_column="file", splits={**HALVES, "feature": "camera"}
    )
    assert not list(structure_errors(examples))
    found = ingested(examples, tmp_path)
    cameras = [{each["camera"] for each in rows} for rows in found.values()]
    assert all(cameras) and not cameras[0] & cameras[1]
    labels = sorted(each["label"] for rows in found.values() for each in rows)
    assert labels == [0, 0.5, 1, 1.5, 10, 11, 12, 13] and len(found["train"][0]["image"]) == 60


def test_sounds_become_samples(tmp_path: Path) -> None:
    for label, level in (("low", 100), ("high", 900)):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for index in range(6):
            wavfile.write(tmp_path / "sounds" / label / f"{index}.wav", 8000, np.full(50, level + index, np.int16))
    splits = {"kind": "declared", "patterns": {"train": "*/[0-3].wav", "eval": "*/[45].wav"}}
    sounds = {"kind": "audio", "sample_rate": 8000, "samples": 50, "classes": ["low", "high"], "splits": splits}
    examples = examples_of(tmp_path / "sounds", **sounds)
    assert not list(structure_errors(examples))
    found = ingested(examples, tmp_path)
    held = {split: sorted(np.frombuffer(each["audio"], "<i2")[49] for each in rows) for split, rows in found.items()}
    assert held == {"train": [100, 101, 102, 103, 900, 901, 902, 903], "eval": [104, 105, 904, 905]}


def test_arrays_of_one_file_become_splits_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    images = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    np.savez(tmp_path / "data" / "all.npz", x_train=images, y_train=list("abba"), x_test=images[:2], y_test=["b", "a"])
    patterns = {"train": "all.npz", "test": "all.npz"}
    examples = examples_of(tmp_path / "data", kind="arrays", names={"image": "x_{split}", "label": "y_{split}"},
                           classes=["a", "b"], splits={"kind": "declared", "patterns": patterns})  # fmt: skip
    assert not list(structure_errors(examples))
    found = ingested(examples, tmp_path)
    assert sorted((each["image"], each["label"]) for each in found["train"]) == [
        (images[n].tobytes(), label) for n, label in enumerate([0, 1, 1, 0])
    ]
    assert len(found["test"]) == 2


def test_arrays_need_no_label(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x=np.zeros((4, 2), np.float32))
    given = {"kind": "arrays", "splits": {**HALVES, "pattern": "*.npz"}}
    assert not list(structure_errors(examples_of(tmp_path, **given, label="")))
    [error] = structure_errors(examples_of(tmp_path, **given))
    assert "there is no array for the label 'label'" in str(error)


def test_arrays_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros([5, 3], np.float32))
    np.save(tmp_path / "label.npy", np.zeros(4, np.int64))
    examples = examples_of(tmp_path, kind="arrays")
    assert ["label: [4], x: [5, 3]" in str(error) for error in structure_errors(examples)] == [True]
    np.save(tmp_path / "label.npy", np.array([{}] * 5), allow_pickle=True)
    assert ["arrays of Python objects" in str(error) for error in structure_errors(examples)] == [True]
    np.save(tmp_path / "label.npy", np.arange(5))
    [sample] = samples(examples)
    assert sample.rows[4] == {"label": 4, "x": [0.0, 0.0, 0.0]}


GENERATOR = """
def rows():
    for index in range(10):
        yield {"x": [index, index + 0.5], "label": "even" if index % 2 == 0 else "odd"}

def fails():
    yield from list(rows())[:5]
    raise OSError("the disk is gone")

def other():
    yield {"x": 1, "label": "odd"}
    yield {"label": "odd"}

def none():
    return iter(())

def type_changes():
    yield {"x": 1, "label": "odd"}
    yield {"x": None, "label": "odd"}
    yield {"x": 2.5, "label": "odd"}

def number_as_name():
    yield {1: 2}

def endless():
    while True:
        yield {"x": 1, "label": "odd"}

def leaves():
    yield {"x": 1, "label": "odd"}
    raise SystemExit(0)

def of_split(split):
    yield {"x": [1.0, 2.0], "label": "odd", "name": split}
"""


def test_function_yields_examples(tmp_path: Path) -> None:
    (tmp_path / "made_by_hand.py").write_text(GENERATOR)
    make_importable(tmp_path / "pipeline.yaml")
    common = {"kind": "generator", "classes": ["even", "odd"]}
    found = ingested(examples_of(tmp_path, **common, function="made_by_hand:rows", splits=HALVES), tmp_path)
    rows = sorted(found["train"] + found["eval"], key=lambda each: each["x"][0])
    assert rows == [{"x": [n, n + 0.5], "label": n % 2} for n in range(10)]
    declared = {"kind": "declared", "patterns": {"train": "*.py", "eval": "*.py"}}
    one_each = ingested(
        examples_of(tmp_path, **common, function="made_by_hand:of_split", splits=declared), tmp_path / "2"
    )
    assert {split: rows[0]["name"] for split, rows in one_each.items()} == {"train": b"train", "eval": b"eval"}


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("fails", r"the function fails: OSError: the disk is gone .*after 5 examples, .*made_by_hand_2\.py"),
        ("other", r"same keys \(expected: label, x; found: 'label' after 1 example\)"),
        ("type_changes", r"type of the feature 'x' \(expected: integers, .*found: floats after 2 examples: 2\.5\)"),
        ("number_as_name", r"dictionaries with names of features; found: 1 after 0 examples"),
        ("endless", r"more examples than the limit \(expected: at most 12 \(examples\.limit\)\)"),
        ("leaves", r"^examples\.function: user code exits with SystemExit\(0\).*made_by_hand_2\.py, leaves"),
        ("none", "yields no examples"),
        ("of_split", r"does not return examples: TypeError.*expected: a function without arguments"),
    ],
)
def test_function_that_fails_is_reported(tmp_path: Path, function: str, words: str) -> None:
    (tmp_path / "made_by_hand_2.py").write_text(GENERATOR)
    make_importable(tmp_path / "pipeline.yaml")
    with pytest.raises(EdgemillError, match=words):
        list(
            samples(
                examples_of(
                    tmp_path,
                    kind="generator",
                    function=f"made_by_hand_2:{function}",
                    classes=["even", "odd"],
                    limit=12,
                )
            )
        )


def test_csv_of_a_spreadsheet_is_read_and_its_label_becomes_a_class_number(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines = ['\ufeff"x, cm";half;label;none', *(f"{n};{n},5;{'yes' if n % 2 else 'no'};" for n in range(8)), ";;;"]
    (tmp_path / "data" / "a.csv").write_bytes("\r\n".join(lines).encode())
    examples = examples_of(tmp_path / "data", kind="csv", classes=["yes", "no"], splits=HALVES)
    from components.ingest.component import CheckedCsv

    node = _example_gen(examples, None)
    artifact = ExamplesArtifact()
    artifact.uri = str(tmp_path / "examples")
    CheckedCsv(CheckedCsv.Context(beam_pipeline_args=[], tmp_dir=str(tmp_path), unique_id="1")).Do(
        {}, {"examples": [artifact]}, dict(node.exec_properties)
    )
    files = [str(file) for file in (tmp_path / "examples").glob("*/*")]
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()
    parsed = [tf.train.Example.FromString(record) for record in records]
    # A column without any value has no type.
    assert all(each.features.feature.pop("none").WhichOneof("kind") is None for each in parsed)
    rows = map(row, parsed)
    found = sorted((each["x, cm"], each["half"], each["label"]) for each in rows)
    assert found == [(n, n + 0.5, 1 - n % 2) for n in range(8)]


def test_parameter_of_the_node_changes_with_the_source(tmp_path: Path) -> None:
    write_images(tmp_path)
    [one, other] = (
        json.loads(
            _example_gen(examples_of(tmp_path, **{**IMAGES, "size": size}), None).exec_properties["custom_config"]
        )
        for size in ([5, 4], [5, 5])
    )
    assert one != other
