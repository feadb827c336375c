"""Labels are asked for by the names of a model's outputs before the model is loaded."""

import json
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edgemill.project.data import recognize_data
from edgemill.project.found import Options
from edgemill.project.output_names import output_names, with_outputs_of
from edgemill.project.unclear import UnclearError


def keras(folder: Path, outputs: object) -> Path:
    """A file with the config of a model, and nothing else."""
    with zipfile.ZipFile(folder / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"output_layers": outputs}}))
    return folder / "m.keras"


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
        (["kind", "size"], "2 labels, one for each output: kind, size.*`--label kind,size`", "kind,size"),
        (["first", "second"], "one for each output: first, second.*`--label kind,size`", "kind,size"),
        (["kind"], "it is not clear what the label is", "size"),
    ],
)
def test_labels_of_all_outputs_are_asked_for(tmp_path: Path, outputs: list[str], words: str, default: str) -> None:
    np.savez(tmp_path / "d.npz", left=np.zeros([3, 2]), kind=np.arange(3), size=np.arange(3))
    model = keras(tmp_path, [[name, 0, 0] for name in outputs])
    with pytest.raises(UnclearError, match=words) as caught:
        with_outputs_of(model, partial(recognize_data, tmp_path / "d.npz", Options()))
    assert (caught.value.option, caught.value.default) == ("label", default)


def test_mistyped_label_stays_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", left=np.zeros([3, 2]), kind=np.arange(3), size=np.arange(3))
    model = keras(tmp_path, [["kind", 0, 0], ["size", 0, 0]])
    with pytest.raises(UnclearError, match="did you mean kind"):
        with_outputs_of(model, partial(recognize_data, tmp_path / "d.npz", Options(label="kindd,size")))
