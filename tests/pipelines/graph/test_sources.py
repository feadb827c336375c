"""Example files are what their content is: in ExampleGen's parameters, in what it read, and in the lineage."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tfx.proto import example_gen_pb2
from tfx.types.artifact_utils import get_split_uri
from tfx.types.standard_artifacts import Examples
from tfx.utils.proto_utils import proto_to_json

from components.core.errors import DataError
from components.core.files import sha256_of
from components.ingest.component import CheckedImport, packed
from components.ingest.sources import described, shown
from pipelines.file.environment import environment
from pipelines.file.load import load_pipeline
from pipelines.graph.build import build_pipeline
from pipelines.graph.sources import source_digests
from tests.object_store import BUCKET, s3_server
from tests.small_pipeline import SmallPipeline


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPipeline:
    monkeypatch.syspath_prepend(str(tmp_path))
    return SmallPipeline(tmp_path)


def examples_node(small: SmallPipeline) -> Any:
    built = build_pipeline(load_pipeline(small.write()), environment(small.folder / "root", None), "1")
    return next(node for node in built.components if node.id == "examples")


def overwrite(file: Path) -> None:
    """Other content of the same size and modification time."""
    before = file.stat()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("kind", ["tfrecord", "csv", "parquet"])
def test_other_content_is_another_parameter_and_a_new_time_alone_is_not(small: SmallPipeline, kind: str) -> None:
    small.spec["examples"]["kind"] = kind
    data = small.folder / "data" / "eval.tfrecord"
    before = examples_node(small).exec_properties["custom_config"]
    assert shown(before)[1]["eval.tfrecord"] == f"sha256 {sha256_of(data)}"
    os.utime(data)
    assert examples_node(small).exec_properties["custom_config"] == before
    overwrite(data)
    after = examples_node(small).exec_properties["custom_config"]
    assert after != before
    assert shown(after)[1]["eval.tfrecord"] == f"sha256 {sha256_of(data)}"


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "exported/variables/variables.data-00000-of-00001"])
def test_flipped_bit_of_a_pretrained_model_is_another_parameter(small: SmallPipeline, name: str) -> None:
    small.spec["baseline"] = {"kind": "pretrained", "path": name.partition("/")[0]}
    model = small.folder / name.partition("/")[0]
    for file in (small.folder / name, *([model / "saved_model.pb"] if "/" in name else [])):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"weights")

    def digest() -> str:
        built = build_pipeline(load_pipeline(small.write()), environment(small.folder / "root", None), "1")
        return str(next(node for node in built.components if node.id == "baseline").exec_properties["sha256"])

    before = digest()
    assert before == sha256_of(model) == digest()
    overwrite(small.folder / name)
    assert digest() == sha256_of(model) != before


def test_parameters_of_other_nodes_are_no_digests() -> None:
    assert shown("") == ({}, {})
    assert shown(json.dumps({"code_version": "0123"})) == ({}, {})
    assert shown(proto_to_json(packed("0123"))) == ({}, {})


def test_of_very_many_files_one_digest_stands_for_all() -> None:
    many = {f"{number:04}": "sha256 0" for number in range(1_001)}
    details, files = shown(proto_to_json(packed(described(many))))
    assert not files and list(details) == ["data"] and details["data"].startswith("1001 files, sha256 ")
    assert details != shown(proto_to_json(packed(described({**many, "0500": "sha256 1"}))))


def test_objects_are_identified_by_size_and_version(small: SmallPipeline) -> None:
    with s3_server() as server:
        small.spec["examples"]["path"] = f"s3://{BUCKET}/some/data"
        place, spec = environment(small.folder / "root", None), load_pipeline(small.write()).spec
        server.put_folder(small.folder / "data", "some/data")
        before = json.loads(source_digests(spec, place))
        overwrite(small.folder / "data" / "eval.tfrecord")
        server.put_folder(small.folder / "data", "some/data")
        after = json.loads(source_digests(spec, place))
    assert set(before["each"]) == {"train.tfrecord", "eval.tfrecord"}
    assert before["each"]["train.tfrecord"] == after["each"]["train.tfrecord"]
    assert before["each"]["eval.tfrecord"] != after["each"]["eval.tfrecord"]


def read(small: SmallPipeline, folder: Path, change: Any) -> Examples:
    """What ExampleGen writes if its data change between their identification and its work."""
    node = examples_node(small)
    change()
    examples = Examples()
    examples.uri = str(folder)
    executor = node.executor_spec.executor_class
    assert executor is CheckedImport
    executor().Do({}, {"examples": [examples]}, {"output_data_format": example_gen_pb2.FORMAT_TF_EXAMPLE,
                  "output_file_format": 5, **node.exec_properties})  # fmt: skip
    return examples


def test_examples_that_change_before_they_are_read_fail_their_node(small: SmallPipeline, tmp_path: Path) -> None:
    made = read(small, tmp_path / "made", lambda: None)
    assert list(Path(get_split_uri([made], "eval")).iterdir())
    other = {"seed": 4, "count": 120}
    with pytest.raises(DataError, match=r"data: the examples changed while the run read them: eval\.tfrecord .*over 2"):
        read(small, tmp_path / "changed", lambda: small.write_split("eval", **other))
    with pytest.raises(DataError, match=r"changed while the run read them: eval-2\.tfrecord .*over 2 .*over 3 files"):
        read(small, tmp_path / "added", lambda: small.write_split("eval-2", **other))
