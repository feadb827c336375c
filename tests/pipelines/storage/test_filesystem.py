"""TFX's own file operations on object stores."""

import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from tfx.dsl.io import fileio

from components.object_store.clients import bucket_of
from pipelines.storage.filesystem import register

KEYS = ("train-1.gz", "train-2.gz", "eval-1.gz", "inner/train-3.gz", "inner/deep/train-4.gz")


@pytest.fixture
def folder(address: str) -> str:
    register()
    for number, key in enumerate(KEYS):
        bucket_of(address).write(f"some/where/{key}", bytes(number))
    return address


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("train*", {"train-1.gz", "train-2.gz"}),
        ("*-1.gz", {"train-1.gz", "eval-1.gz"}),
        ("train-[2-9].gz", {"train-2.gz"}),
        ("eval-?.gz", {"eval-1.gz"}),
        ("*/train*", {"inner/train-3.gz"}),
        ("inner/**", {"inner/train-3.gz", "inner/deep/train-4.gz"}),
        ("nothing*", set()),
    ],
)
def test_patterns_mean_what_beam_means_by_them(pattern: str, found: set[str], folder: str) -> None:
    assert set(fileio.glob(f"{folder}/{pattern}")) == {f"{folder}/{key}" for key in found}
    if folder.startswith("s3"):  # looking for Google's users, Beam waits for a network
        FileSystems.set_options(PipelineOptions([]))
        (matched,) = FileSystems.match([f"{folder}/{pattern}"])
        assert {one.path for one in matched.metadata_list} == {f"{folder}/{key}" for key in found}


def test_folders_are_what_keys_have_before_a_slash(folder: str) -> None:
    assert fileio.isdir(folder) and fileio.isdir(f"{folder}/inner") and not fileio.isdir(f"{folder}/train-1.gz")
    assert fileio.exists(f"{folder}/train-1.gz") and fileio.exists(f"{folder}/inner")
    assert not fileio.exists(f"{folder}/train") and not fileio.exists(f"{folder}/inn")
    assert set(fileio.listdir(folder)) == {"train-1.gz", "train-2.gz", "eval-1.gz", "inner"}
    down = {top: (set(inner), set(files)) for top, inner, files in fileio.walk(folder)}
    assert down == {
        folder: ({"inner"}, {"train-1.gz", "train-2.gz", "eval-1.gz"}),
        f"{folder}/inner": ({"deep"}, {"train-3.gz"}),
        f"{folder}/inner/deep": (set(), {"train-4.gz"}),
    }
    assert next(iter(fileio.walk(folder, topdown=False)))[0] != folder


def test_files_are_read_written_copied_and_removed(folder: str) -> None:
    assert fileio.stat(f"{folder}/inner/train-3.gz").length == 3
    with fileio.open(f"{folder}/text", "w") as file:
        file.write("Größe")
    with fileio.open(f"{folder}/text") as file:
        assert file.read() == "Größe"
    fileio.rename(f"{folder}/text", f"{folder}/moved")
    with pytest.raises(fileio.NotFoundError):
        fileio.open(f"{folder}/text", "rb")
    with pytest.raises(fileio.NotFoundError):
        fileio.stat(f"{folder}/text")
    with pytest.raises(FileExistsError):
        fileio.copy(f"{folder}/moved", f"{folder}/train-1.gz")
    with pytest.raises(RuntimeError), fileio.open(f"{folder}/half", "wb") as file:
        file.write(b"half")
        raise RuntimeError
    assert not fileio.exists(f"{folder}/half")
    fileio.remove(f"{folder}/moved")
    fileio.rmtree(f"{folder}/inner")
    assert set(fileio.listdir(folder)) == {"train-1.gz", "train-2.gz", "eval-1.gz"}
