"""What `--data package.module:function` is recognized as, without TensorFlow."""

from pathlib import Path

import pytest

from components.core.errors import EdgemillError
from edgemill.project.data import recognize_data
from edgemill.project.found import Options

CODE = """
import numpy as np

def pictures():
    for number in range(6):
        yield {"image": np.zeros([2, 2, 1], np.uint8), "name": number, "label": ("dog", "cat")[number % 2]}

def of_split(split):
    for number in range(4 if split == "train" else 2):
        yield {"a": number, "b": number / 2, "y": -1.5 * number}

def halfway():
    yield from list(pictures())[:3]
    raise OSError("the disk is gone")

def late(split):
    yield {"x": 1.0, "label": 0}
    if split == "eval":
        raise OSError("the disk is gone")

def pairs():
    yield 1.0, 0

def uneven():
    yield {"x": [1.0], "label": 0}
    yield {"x": [1.0, 2.0], "label": 1}

def missing():
    yield {"x": None, "label": 0}
    yield {"x": float("nan"), "label": 1}

def words():
    yield {"x": "red", "label": 0}

def vectors():
    yield {"x": 1.0, "label": [0, 1]}
    yield {"x": 2.0, "label": [1, 1]}

def columns():
    for number in range(4):
        yield {"x": number / 2, "wet": number % 2, "hot": bool(number // 2), "degrees": 10 * number, "name": "a"}

def tags():
    yield {"x": 1.0, "label": ["wet", "hot"]}
"""


def recognized(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, **options: object):
    # A module of its own for each test: Python imports it once.
    module = f"own_{folder.name.replace('-', '_')}"
    (folder / f"{module}.py").write_text(CODE)
    monkeypatch.chdir(folder)
    return recognize_data(Path(f"{module}:{name}"), Options.model_validate(options)), module


def test_function_without_arguments_has_hashed_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, module = recognized(tmp_path, monkeypatch, "pictures", columns=("image",))
    assert (found.kind, found.folder, found.classes) == ("generator", tmp_path, ("cat", "dog"))
    assert (found.columns, found.is_table, found.count) == ({"image": "uint8"}, False, 6)
    assert (found.fields, found.splits["kind"]) == ({"function": f"{module}:pictures"}, "hashed")


def test_list_of_numbers_is_several_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = recognized(tmp_path, monkeypatch, "vectors")
    assert (found.label, found.labels, found.columns) == ("", {"label": "int64"}, {"x": "float32"})


def test_function_of_a_split_is_called_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = recognized(tmp_path, monkeypatch, "of_split")
    assert (found.label, found.label_type, found.classes) == ("y", "float32", ())
    assert (found.columns, found.is_table, found.count) == ({"a": "int64", "b": "float32"}, True, 6)
    assert found.splits["patterns"].keys() == {"train", "eval"}


def test_several_features_are_several_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = recognized(tmp_path, monkeypatch, "columns", label="wet,hot", columns=("x",))
    assert (found.label, found.labels, found.not_binary) == ("", {"wet": "int64", "hot": "int64"}, "")
    found, _ = recognized(tmp_path, monkeypatch, "columns", label="wet,degrees", columns=("x",))
    assert (found.labels, found.not_binary) == ({"wet": "int64", "degrees": "int64"}, "degrees: 30")
    with pytest.raises(EdgemillError, match=r"several values for each example, and not all are numbers .*name: 'a'"):
        recognized(tmp_path, monkeypatch, "columns", label="wet,name", columns=("x",))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "halfway",
            r"^--data own_\w+:halfway: the function fails: OSError: the disk is gone .*after 3 examples, .*line",
        ),
        ("late", "after 1 example of the split 'eval', "),
        ("pairs", r"found: tuple after 0 examples\).*yield a dictionary for each example, such as {'x': x"),
        ("nothing", "cannot be imported: the module contains no 'nothing' .*one of .*pictures"),
        ("uneven", r"different numbers of values: x .*found: x: 1 to 2"),
        ("missing", r"missing values or values that are not finite: x .*x: 2 values"),
        ("words", "features contain text: x .*x: 'red'.*--columns"),
        ("tags", "the label 'label' is neither one number or text nor a list .*found: 2 values of the type text"),
    ],
)
def test_function_that_yields_no_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    with pytest.raises(EdgemillError, match=words):
        recognized(tmp_path, monkeypatch, name)


def test_file_whose_name_looks_like_a_function_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a:b").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgemillError, match="the kind of these examples is unknown"):
        recognize_data(Path("a:b"), Options())
