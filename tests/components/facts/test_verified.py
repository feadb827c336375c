"""An artifact is what was written, or an error that names it."""

import os
import re
import shutil

import pytest
from tfx.types.standard_artifacts import Model

from components.core.errors import TamperedError
from components.core.files import sha256_of_bytes
from components.facts.manifest import describe, write_manifest
from components.facts.verified import verified

NAMES = ("Format-Serving/tflite", "facts.json", "outcome.json")


@pytest.fixture
def artifact(tmp_path):
    one = Model()
    one.uri = str(tmp_path / "chosen")
    (tmp_path / "chosen" / "Format-Serving").mkdir(parents=True)
    for name in NAMES:
        (tmp_path / "chosen" / name).write_text(f"content of {name}")
    describe(one, write(tmp_path / "chosen"))
    return one


def write(folder):
    return write_manifest(
        folder,
        "Format-Serving/tflite",
        role="chosen",
        recipe={"name": "int8", "scheme": "float32"},
        parents={},
        code_version="1",
    )


def test_untouched_artifact_gives_its_content_wherever_it_lies(artifact, tmp_path):
    assert verified(artifact).read("facts.json") == b"content of facts.json"
    shutil.copytree(tmp_path / "chosen", tmp_path / "elsewhere")
    assert verified(tmp_path / "elsewhere").manifest.sha256 == sha256_of_bytes(b"content of Format-Serving/tflite")


@pytest.mark.parametrize("name", NAMES)
def test_each_changed_file_is_named_with_both_digests(artifact, tmp_path, name):
    (tmp_path / "chosen" / name).write_text("other")
    before, after = sha256_of_bytes(f"content of {name}".encode()), sha256_of_bytes(b"other")
    said = re.escape(
        f"chosen/{name}: this artifact (chosen 'int8') is not the one that was written "
        f"(expected: sha256 {before}; found: sha256 {after}). Remedy: find out what changed the artifact, delete"
    )
    with pytest.raises(TamperedError, match=said):
        verified(artifact)


@pytest.mark.parametrize("name", NAMES)
def test_removed_and_added_files_are_named(artifact, tmp_path, name):
    (tmp_path / "chosen" / name).rename(tmp_path / "chosen" / "added")
    with pytest.raises(TamperedError, match=r"added|no such file"):
        verified(artifact)


def test_content_changed_together_with_its_manifest_differs_from_ml_metadata(artifact, tmp_path):
    (tmp_path / "chosen" / "facts.json").write_text("other")
    write(tmp_path / "chosen")
    with pytest.raises(TamperedError, match=r"manifest\.json: .*expected: manifest_sha256 .*ML Metadata"):
        verified(artifact)


@pytest.mark.parametrize("length", [0, 1, 100, None])
def test_manifest_that_cannot_be_read_is_named(artifact, tmp_path, length):
    path = tmp_path / "chosen" / "manifest.json"
    content = path.read_bytes()
    path.unlink()
    if length is not None:
        path.write_bytes(content[:length])
    with pytest.raises(TamperedError, match=r"chosen/manifest\.json: the manifest of this artifact cannot be read"):
        verified(artifact)


def test_file_swapped_after_it_was_verified_is_not_read(artifact, tmp_path):
    one = verified(artifact)
    (tmp_path / "chosen" / "facts.json").write_text("other")
    with pytest.raises(TamperedError, match=r"chosen/facts\.json"):
        one.read("facts.json")
    with pytest.raises(TamperedError, match=r"chosen/facts\.json"):
        one.check()


@pytest.mark.parametrize("name", [*NAMES, "manifest.json"])
def test_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(artifact, tmp_path, name):
    before = verified(artifact)
    (tmp_path / "chosen" / name).unlink()
    os.mkfifo(tmp_path / "chosen" / name)
    with pytest.raises(TamperedError, match=re.escape(f"chosen/{name}: ")):
        verified(artifact)
    if name in NAMES:
        with pytest.raises(TamperedError, match=re.escape(f"chosen/{name}: ") + ".*Not a regular file"):
            before.read(name)
