from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipelines.checks.preflight import preflight
from pipelines.file.load import PipelineFileError
from pipelines.file.user_folders import make_importable
from tests.small_pipeline import SmallPipeline


@pytest.fixture
def small(tmp_path: Path) -> SmallPipeline:
    small = SmallPipeline(tmp_path)
    for split in ("train", "eval"):
        (tmp_path / "data" / f"{split}.tfrecord").unlink()
        (tmp_path / "data" / f"{split}.csv").write_text("image,label\n0.5,1\n")
    small.spec["examples"]["kind"] = "csv"
    return small


def check(small: SmallPipeline) -> None:
    make_importable(small.write())
    preflight(small.file)


def errors_of(small: SmallPipeline) -> str:
    with pytest.raises(PipelineFileError) as caught:
        check(small)
    return str(caught.value)


def hashed(small: SmallPipeline, **fields: str) -> None:
    small.spec["examples"]["splits"] = {"kind": "hashed", **fields}


def test_label_that_no_csv_file_has_is_named_once(small: SmallPipeline) -> None:
    for split in ("train", "eval"):
        (small.folder / "data" / f"{split}.csv").write_text("image,lable\n0.5,1\n")
    said = errors_of(small)
    assert "one error" in said
    assert "examples.label: the examples have no column 'label' (expected: 'label' in each header line; found: " in said
    assert f"found: image, lable in {small.folder / 'data' / 'train.csv'})" in said
    assert "correct examples.label, or write the name into the header" in said


def test_label_that_one_file_of_several_lacks_is_counted(small: SmallPipeline) -> None:
    (small.folder / "data" / "train2.csv").write_text("0.5,1\n0.5,1\n")
    assert f"found: 0.5, 1 in {small.folder / 'data' / 'train2.csv'}; 1 of 2 files lack it" in errors_of(small)


@pytest.mark.parametrize("first", ["image,label,id", "\ufefflabel,image,id", 'image,"label",id', "image;label;id"])
def test_header_is_read_as_spreadsheets_write_it(small: SmallPipeline, first: str) -> None:
    row = "0.5;1;7" if ";" in first else "0.5,1,7"
    for split in ("train", "eval"):
        (small.folder / "data" / f"{split}.csv").write_text(f"{first}\r\n{row}\r\n")
    check(small)


@pytest.mark.parametrize("name", ["'label'", " label"])
def test_name_that_differs_by_a_space_or_single_quotes_is_named(small: SmallPipeline, name: str) -> None:
    for split in ("train", "eval"):
        (small.folder / "data" / f"{split}.csv").write_text(f"image,{name},id\r\n0.5,1,7\r\n")
    assert f"write label instead of {name!r} there: spaces and single quotes" in errors_of(small)


def test_slices_strata_and_what_splits_go_by_are_columns_too(small: SmallPipeline) -> None:
    small.spec["evaluate"]["slices"] = [["label", "site"]]
    small.spec["gate"]["metrics"].append({"name": "accuracy", "slices": ["lot=1"], "at_least": 0.5})
    small.spec["evaluate"]["group_by"] = "clip"
    small.spec["calibrate"]["stratify_by"] = "kind"
    hashed(small, feature="speaker")
    said = errors_of(small)
    assert "5 errors" in said
    for field, column in (
        ("evaluate.slices", "site"),
        ("gate.metrics", "lot"),
        ("evaluate.group_by", "clip"),
        ("calibrate.stratify_by", "kind"),
        ("examples.splits.feature", "speaker"),
    ):
        assert f"{field}: the examples have no column {column!r}" in said
    (small.folder / "data" / "eval.csv").unlink()
    (small.folder / "data" / "train.csv").write_text("image,label,site,lot,kind,speaker,clip\n0.5,1,1,1,1,1,1\n")
    check(small)


def test_columns_are_asked_for_only_where_they_are_read(small: SmallPipeline) -> None:
    small.spec["evaluate"]["slices"] = [["site"]]
    small.spec["calibrate"]["stratify_by"] = "kind"
    (small.folder / "data" / "eval.csv").write_text("image,label,site\n0.5,1,1\n")
    (small.folder / "data" / "train.csv").write_text("image,label,kind\n0.5,1,1\n")
    check(small)
    (small.folder / "data" / "eval.csv").write_text("image,label\n0.5,1\n")
    assert "no column 'site'" in errors_of(small)
    # Without static schemes nothing is sampled.
    (small.folder / "data" / "train.csv").write_text("image,label\n0.5,1\n")
    assert "no column 'kind'" in errors_of(small)
    small.spec["recipes"].pop()
    assert "no column 'kind'" not in errors_of(small)
    # A preprocessing function may make it.
    (small.folder / "mine.py").write_text("def preprocessing_fn(inputs): return inputs\n")
    small.spec["preprocess"] = "mine:preprocessing_fn"
    check(small)


def test_csv_files_of_a_split_have_the_same_header(small: SmallPipeline) -> None:
    (small.folder / "data" / "train2.csv").write_text("label,image\n1,0.5\n")
    said = errors_of(small)
    assert "train2.csv: CSV files of one split (train) have different header lines" in said
    assert "(expected: image, label, as in " in said and "found: label, image)" in said


def test_hidden_files_are_not_read_as_examples(small: SmallPipeline) -> None:
    (small.folder / "data" / ".train.csv.swp").write_text("no header\n")
    small.spec["examples"]["splits"]["patterns"] = {"train": "*train*", "eval": "*eval*"}
    check(small)


def test_parquet_without_the_label_is_reported(small: SmallPipeline) -> None:
    small.spec["examples"]["kind"] = "parquet"
    hashed(small, pattern="*.parquet")
    file = small.folder / "data" / "rows.parquet"
    pyarrow.parquet.write_table(pa.table({"image": [0.5], **{f"c{number}": [1] for number in range(25)}}), file)
    said = errors_of(small)
    assert "examples.label: the examples have no column 'label' (expected: 'label' in each file; found: image, " in said
    assert f"c18 and 6 more in {file})" in said
    file.write_bytes(b"PAR1 nothing of the kind")
    assert f"{file}: the columns of this file cannot be read: " in errors_of(small)
    pyarrow.parquet.write_table(pa.table({"image": [0.5], "label": [1]}), file)
    check(small)
