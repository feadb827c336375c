from pathlib import Path

import pytest
from tfx.types.standard_artifacts import Schema

from components.core.errors import DataError
from components.core.files import sha256_of
from components.ingest.component import ImportedSchema


def run(path: Path, output: Path, sha256: str | None = None) -> None:
    schema = Schema()
    schema.uri = str(output)
    parameters = {"path": str(path), "sha256": sha256 or sha256_of(path), "code_version": "c"}
    ImportedSchema.EXECUTOR_SPEC.executor_class().Do({}, {"schema": [schema]}, parameters)


def test_schema_is_copied_when_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine.pbtxt").write_text('feature { name: "label" type: INT }  # ours\n')
    run(tmp_path / "mine.pbtxt", tmp_path / "schema")
    assert (tmp_path / "schema" / "schema.pbtxt").read_bytes() == (tmp_path / "mine.pbtxt").read_bytes()


@pytest.mark.parametrize("content", [b"featur { }", b"feature { name: ", b"\xff\xfe"])
def test_file_that_is_no_schema_is_named_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.pbtxt").write_bytes(content)
    with pytest.raises(DataError, match=rf"{tmp_path}/mine.pbtxt: this is not a schema: .*correct the file"):
        run(tmp_path / "mine.pbtxt", tmp_path / "schema")
    assert not (tmp_path / "schema").exists()


def test_schema_that_changed_since_the_pipeline_was_built_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.pbtxt").write_text('feature { name: "label" type: INT }')
    before = sha256_of(tmp_path / "mine.pbtxt")
    (tmp_path / "mine.pbtxt").write_text('feature { name: "label" type: FLOAT }')
    with pytest.raises(DataError, match=rf"mine.pbtxt: this has changed since .*expected: sha256 {before}"):
        run(tmp_path / "mine.pbtxt", tmp_path / "schema", before)
    assert not (tmp_path / "schema").exists()
