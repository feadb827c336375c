"""Errors of `edgemill init` name options and files, and the closest names."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from components.core.errors import DataError, EdgemillError
from edgemill.project.data import recognize_data
from edgemill.project.flags import with_options
from edgemill.project.found import Options
from edgemill.project.inputs import ModelInput, match
from edgemill.project.objective import Model
from edgemill.project.plan import plan
from edgemill.project.unclear import UnclearError


def said(path: Path, **options: object) -> str:
    with pytest.raises(EdgemillError) as caught:
        recognize_data(path, Options.model_validate(options))
    return str(caught.value)


def test_missing_values_name_the_table_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Weine.csv").write_text("a,b,y\n1,,0\n2,3,1\n")
    data = recognize_data(Path("Weine.csv"), Options())
    with pytest.raises(DataError, match=r"^--data Weine\.csv: columns have missing values") as caught:
        match(data, {"x": ModelInput(shape=(2,), dtype="float32")}, Options())
    assert "'' in line 2" in str(caught.value)


@pytest.mark.parametrize("wrong", ["lengths", "NaN"])
def test_arrays_name_the_archive_and_no_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=np.full([3, 2], np.nan), y=np.arange(3 if wrong == "NaN" else 2))
    found = said(Path("d.npz"))
    assert found.startswith("--data d.npz: ") and "examples." not in found
    assert wrong == "NaN" or "--label and --columns" in found


def test_question_stays_a_question() -> None:
    given = UnclearError(
        "x", option="label", question="Which?", default="y", where="t.csv", remedy="see examples.label"
    )
    found = pickle.loads(pickle.dumps(with_options(given)))
    assert (found.where, found.remedy, found.option, found.default) == ("--data t.csv", "see --label", "label", "y")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "Sorta"}, "no column or array 'Sorta' .*did you mean Sorte?"),
        ({"label": "SORTE"}, "did you mean Sorte?"),
        ({"label": "Sorte", "columns": ("Alkohl",)}, "no column 'Alkohl' .*did you mean Alkohol?"),
    ],
)
def test_mistyped_column_comes_with_the_closest_one(tmp_path: Path, options: dict[str, object], words: str) -> None:
    (tmp_path / "t.csv").write_text("Alkohol,Sorte\n1,a\n2,b\n")
    with pytest.raises(EdgemillError, match=words):
        recognize_data(tmp_path / "t.csv", Options.model_validate(options))


def test_unclear_label_mentions_models_with_several_outputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", left=np.zeros([3, 2]), size=np.arange(3), kind=np.arange(3))
    assert "for a model with several outputs, specify one for each, separated by commas" in said(tmp_path / "d.npz")


def test_empty_label_is_not_a_matter_of_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n1,x\n2,\n3,y\n")
    found = said(tmp_path / "t.csv")
    assert "labels have missing values: y (1)" in found and "'' in line 3" in found
    assert "--label" in found and "--columns" not in found


@pytest.mark.parametrize(
    ("cell", "grouped"), [('"1.234,5"', True), ("1 234", True), ('"1,234.5"', True), ("1.2.3", False), ("yes", False)]
)
def test_separators_of_thousands_are_named(tmp_path: Path, cell: str, grouped: bool) -> None:
    (tmp_path / "t.csv").write_text(f"a,y\n{cell},0\n{cell},1\n")
    assert ("thousands separators" in said(tmp_path / "t.csv")) is grouped


def test_lines_are_those_of_the_file_that_holds_the_cell(tmp_path: Path) -> None:
    for name, cell in (("train", "1"), ("test", "")):
        (tmp_path / f"{name}.csv").write_text(f"a,y\n\n1,0\n{cell},1\n")
    assert "'' in line 4 of test.csv" in said(tmp_path)


def test_class_folder_without_images_is_a_warning(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "1.png")
    assert not recognize_data(tmp_path, Options()).warnings
    (tmp_path / "c").mkdir()
    (tmp_path / ".cache").mkdir()
    [warning] = recognize_data(tmp_path, Options()).warnings
    assert warning == "folders contain no images: c"


def test_one_file_of_another_rate_is_found_and_named(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    wavfile.write(tmp_path / "a" / "0.wav", 8000, np.zeros(4, np.int16))
    for number in range(1, 450):
        shutil.copy(tmp_path / "a" / "0.wav", tmp_path / "ab"[number % 2] / f"{number}.wav")
    wavfile.write(tmp_path / "b" / "317.wav", 16000, np.zeros(4, np.int16))
    found = said(tmp_path)
    assert "8000 Hz in 449 files such as" in found and f"16000 Hz in 1 file such as {tmp_path}/b/317.wav" in found
    # A file that changes later is named with the option too.
    data = recognize_data(tmp_path, Options(sample_rate=8000))
    strict = data.model_copy(update={"fields": {"sample_rate": 8000}})
    model = Model(inputs={"x": ModelInput(shape=(4,), dtype="float32")}, outputs=2)
    with pytest.raises(DataError, match=r"^--data .*317\.wav: .*add --sample-rate") as caught:
        plan(strict, model, Options(), lambda values: values)
    assert "resample: true" not in str(caught.value)


def test_mistyped_function_comes_with_those_of_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wine_rows.py").write_text("from os.path import join\nimport json\ndef rows(): ...\ndef other(): ...\n")
    monkeypatch.chdir(tmp_path)
    found = said(Path("wine_rows:row"))
    assert "one of rows, other; found" in found and "did you mean wine_rows:rows?" in found
    assert "python -c" not in found
