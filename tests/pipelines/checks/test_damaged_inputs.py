"""Models and data that are cut off or changed: `validate --deep` and `inspect` end with one error and status 2."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from edgemill.main import app
from tests.small_pipeline import SmallPipeline, with_csv

Damage = Callable[[bytes], bytes]


def half(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def without_end(whole: bytes) -> bytes:
    return whole[:-1]


def changed(whole: bytes) -> bytes:
    return bytes(byte ^ 0x55 for byte in whole[:8]) + whole[8:]


def nothing(_: bytes) -> bytes:
    return b""


def garbage(_: bytes) -> bytes:
    return b"\xff\x00nothing of the kind" * 40


def refused(*arguments: str) -> str:
    ran = CliRunner().invoke(app, list(arguments))
    assert isinstance(ran.exception, SystemExit), ran.exc_info
    assert ran.exit_code == 2
    assert ran.output.count("edgemill: ") == 1
    assert ran.output.count("Remedy: ") == 1
    return ran.output


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallPipeline:
    """One with a model in three formats, which tests copy and damage."""
    pipeline = SmallPipeline(tmp_path_factory.mktemp("inputs"))
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input([4, 4, 1], name="image"),
            layers.Flatten(),
            layers.Dense(16, name="hidden"),
            layers.Dense(3, "softmax"),
        ]
    )
    model.save(pipeline.folder / "whole.keras")
    model.save(pipeline.folder / "whole.h5")
    model.export(str(pipeline.folder / "whole"))
    return pipeline


def refused_model(small: SmallPipeline, path: Path) -> str:
    small.spec["baseline"] = {"kind": "pretrained", "path": str(path)}
    said = refused("validate", "--deep", str(small.write()))
    assert str(path) in said
    assert "register" not in said  # advice for models with their own layers
    return said


@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
@pytest.mark.parametrize("damage", [None, half, changed])
def test_damaged_saved_model(small: SmallPipeline, tmp_path: Path, file: str, damage: Damage | None) -> None:
    shutil.copytree(small.folder / "whole", tmp_path / "saved")
    place = tmp_path / "saved" / file
    content = place.read_bytes()
    place.unlink()
    if damage is not None:
        place.write_bytes(damage(content))
    said = refused_model(small, tmp_path / "saved")
    assert "the SavedModel cannot be loaded: " in said or (damage is None and "there is no readable model" in said)
    if damage is not None:
        refused("inspect", str(place))


def rewritten(whole: Path, target: Path, member: str, change: Damage | None, compression: int) -> None:
    """Write an archive once more with one member changed and all checksums right."""
    with zipfile.ZipFile(whole) as before, zipfile.ZipFile(target, "w", compression) as after:
        for name in before.namelist():
            content = before.read(name)
            if name == member:
                if change is None:
                    continue
                content = change(content)
            after.writestr(name, content)


@pytest.mark.parametrize(
    ("member", "damage"),
    [
        ("model.weights.h5", None),
        ("model.weights.h5", half),
        ("model.weights.h5", garbage),
        ("config.json", None),
        ("config.json", half),
        ("metadata.json", half),
    ],
)
def test_archive_with_a_damaged_member(
    small: SmallPipeline, tmp_path: Path, member: str, damage: Damage | None
) -> None:
    file = tmp_path / "model.keras"
    rewritten(small.folder / "whole.keras", file, member, damage, zipfile.ZIP_STORED)
    refused_model(small, file)
    refused("inspect", str(file))


@pytest.mark.parametrize("member", ["model.weights.h5", "config.json", "metadata.json"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive_with_flipped_bits(small: SmallPipeline, tmp_path: Path, member: str, compression: int) -> None:
    file = tmp_path / "model.keras"
    rewritten(small.folder / "whole.keras", file, member, lambda whole: whole, compression)
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        held = archive.getinfo(member)
    # Behind the local header of 30 bytes and the name.
    at = held.header_offset + 30 + len(member) + held.compress_size * 2 // 3
    content[at] ^= 0x10
    file.write_bytes(content)
    said = refused_model(small, file)
    assert "the model file is damaged: " in said or "the config of this Keras model cannot be read" in said


@pytest.mark.parametrize("name", ["whole.keras", "whole.h5"])
@pytest.mark.parametrize("damage", [nothing, half, without_end, garbage])
def test_damaged_file(small: SmallPipeline, tmp_path: Path, name: str, damage: Damage) -> None:
    file = tmp_path / name
    file.write_bytes(damage((small.folder / name).read_bytes()))
    refused_model(small, file)


@pytest.mark.parametrize("place", ["config", "weights", "links"])
def test_damage_inside_an_h5_file(small: SmallPipeline, tmp_path: Path, place: str) -> None:
    file = tmp_path / "model.h5"
    shutil.copy(small.folder / "whole.h5", file)
    with h5py.File(file, "r+") as archive:
        if place == "config":
            archive.attrs["model_config"] = archive.attrs["model_config"][:100]
        elif place == "weights":
            del archive["model_weights/hidden"]
    if place == "links":
        # The signature of the tables of names, the last of which holds weights.
        before, _, after = file.read_bytes().rpartition(b"SNOD")
        file.write_bytes(before + b"SNOE" + after)
    said = refused_model(small, file)
    assert place != "links" or "the model file is damaged: RuntimeError: " in said


HEADER = b"image,label\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + b"0.5,1\n0.5", "line 3: a row has more or fewer cells than the first line"),
        (HEADER + b"0.5,1\n0.5,1,7\n", "(expected: 2 cells; found: 3 cells)"),
        (HEADER + b"0.5,1\n" * 20000 + b"0.5", "the last row of the file is cut off"),
        (HEADER + b"0.5,1\n" * 9 + bytes(500), "the last row of the file is cut off"),
        (HEADER + b'"0.5,1\n' + b"0.5,1\n" * 9, "line 2: a quote is not closed"),
        (HEADER + b"0.5,\xff\xfe\n", "line 2: this is not a CSV table in UTF-8 (found: 'utf-8' codec"),
        (garbage(b""), "line 1: this is not a CSV table in UTF-8"),
        (HEADER + b"0.5," + b"1" * 200_000 + b"\n", "line 2: a cell has more than 131,072 characters"),
        (HEADER + b"0.5," + b"1" * (17 << 20), "line 2: a row has more than 16,777,216 bytes"),
        (HEADER + b"0.5,\0\n", "the examples do not have the features that the task declares"),
        (HEADER, "there are no examples for the split 'eval'"),
        (b"\n\n\n", "the examples have no column 'label'"),
        (b"0.5,1\n0.5,1\n", "the examples have no column 'label'"),
    ],
    ids=range(13),
)
def test_damaged_csv_file(tmp_path: Path, content: bytes, message: str) -> None:
    small = with_csv(tmp_path)
    file = tmp_path / "data" / "eval.csv"
    file.write_bytes(content)
    assert message in refused("validate", "--deep", str(small.write()))
    refused("inspect", str(file))


@pytest.mark.parametrize("damage", [half, without_end, garbage, lambda whole: whole[:4] + bytes(60) + whole[64:]])
def test_damaged_parquet_file(tmp_path: Path, damage: Damage) -> None:
    small = with_csv(tmp_path)
    small.spec["examples"] |= {"kind": "parquet", "splits": {"kind": "hashed", "pattern": "*.parquet"}}
    file = tmp_path / "data" / "rows.parquet"
    pyarrow.parquet.write_table(pa.table({"image": [0.5, 0.5], "label": [1, 2]}), file)
    file.write_bytes(damage(file.read_bytes()))
    said = refused("validate", "--deep", str(small.write()))
    assert "rows.parquet: the columns of this file cannot be read: " in said or (
        "rows.parquet: the first records of this file cannot be read: " in said
    )
    refused("inspect", str(file))
