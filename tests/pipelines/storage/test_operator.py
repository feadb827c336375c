"""TFX's runners with artifacts in an object store: what is there after nodes that succeed, fail, and collide."""

from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher

from components.core.errors import SpecError, TamperedError
from components.core.files import sha256_of_bytes
from pipelines.storage.filesystem import register
from pipelines.storage.metadata_connection import connection_config, open_store
from pipelines.storage.operator import staged
from pipelines.storage.staging import Staging
from tests.object_store import BUCKET, S3Server
from tests.pipelines.storage.nodes import Copies, Exits, Fails, LosesTheBucket, Writes

ROOT = f"s3://{BUCKET}/root"


def run(folder: Path, *nodes: BaseNode, root: str = ROOT, runner: Any = LocalDagRunner) -> Any:
    """Run nodes; returns the metadata store."""
    register()
    folder.mkdir(exist_ok=True)
    url = f"sqlite:{folder / 'metadata.sqlite'}"
    pipeline = Pipeline(
        pipeline_name="nodes",
        pipeline_root=root,
        components=list(nodes),
        enable_cache=True,
        metadata_connection_config=connection_config(url),
    )
    with staged(Staging(folder / "staged")):
        runner().run(pipeline)
    return open_store(url)


def states(store: Any) -> list[str]:
    return [one.State.Name(one.last_known_state) for one in sorted(store.get_executions(), key=lambda one: one.id)]


def copies(folder: Path) -> set[str]:
    root = folder / "staged" / "s3" / BUCKET
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def two(text: str = "hello") -> tuple[BaseNode, BaseNode]:
    first = Writes(text=text)
    return first, Copies(source=first.outputs["model"])


WRITTEN = {
    "root/Writes/model/1/inner/text": b"hello",
    "root/Writes/model/1/more": b"more",
    "root/Writes/empty/1/": b"",
    "root/Copies/copied/2/text": b"hello",
}


CONTENT = sha256_of_bytes(f"{sha256_of_bytes(b'hello')}  inner/text\n{sha256_of_bytes(b'more')}  more\n".encode())


@pytest.mark.parametrize("runner", [LocalDagRunner, BeamDagRunner])
def test_nodes_read_and_write_folders_and_the_store_has_what_they_wrote(
    runner: Any, server: S3Server, tmp_path: Path
) -> None:
    before = dict(launcher.DEFAULT_EXECUTOR_OPERATORS)
    store = run(tmp_path, *two(), runner=runner)
    assert server.objects() == WRITTEN
    assert copies(tmp_path) == {key for key in WRITTEN if not key.endswith("/")}
    places = {one.uri: one.custom_properties["where"].string_value for one in store.get_artifacts()}
    assert places == {
        f"{ROOT}/Writes/model/1": f"{ROOT}/Writes/model/1/inner",
        f"{ROOT}/Writes/empty/1": "",
        f"{ROOT}/Copies/copied/2": "",
    }
    assert before == launcher.DEFAULT_EXECUTOR_OPERATORS
    assert states(run(tmp_path, *two(), runner=runner))[2:] == ["CACHED", "CACHED"]


def test_what_vanished_from_the_store_is_made_again(server: S3Server, tmp_path: Path) -> None:
    run(tmp_path, *two())
    server.client().delete_object(Bucket=BUCKET, Key="root/Copies/copied/2/text")
    assert states(run(tmp_path, *two()))[2:] == ["CACHED", "COMPLETE"]
    assert server.objects("root/Copies") == {"root/Copies/copied/4/text": b"hello"}


@pytest.mark.parametrize("far", [True, False])
def test_input_that_was_changed_reaches_no_executor(server: S3Server, tmp_path: Path, far: bool) -> None:
    root = ROOT if far else str(tmp_path / "root")
    first = Writes(text="hello")
    (model, _) = sorted(run(tmp_path, first, root=root).get_artifacts(), key=lambda one: one.uri, reverse=True)
    assert model.custom_properties["content_sha256"].string_value == CONTENT
    if far:
        server.client().put_object(Bucket=BUCKET, Key="root/Writes/model/1/more", Body=b"less of it")
    else:
        (tmp_path / "root" / "Writes" / "model" / "1" / "more").write_text("less of it")
    again = Writes(text="hello")
    said = rf"{root}/Writes/model/1: this artifact \(Model\) .*expected: sha256 {CONTENT} \(ML Metadata\)"
    with pytest.raises(TamperedError, match=said):
        run(tmp_path, again, Copies(source=again.outputs["model"]), root=root)


def test_node_that_fails_leaves_nothing_in_the_store_nor_here(server: S3Server, tmp_path: Path) -> None:
    first = Writes(text="hello")
    with pytest.raises(ValueError, match="on purpose"):
        run(tmp_path, first, Fails(source=first.outputs["model"]))
    written = {key: content for key, content in WRITTEN.items() if "Writes" in key}
    assert server.objects() == written
    assert copies(tmp_path) == {key for key in written if not key.endswith("/")}


def test_node_whose_code_exits_has_failed(tmp_path: Path) -> None:
    first = Writes(text="hello")
    with pytest.raises(SpecError, match=r"user code exits with SystemExit\(0\).*nodes.py, Exits, line "):
        run(tmp_path, first, Exits(source=first.outputs["model"]), root=str(tmp_path / "artifacts"))
    assert states(open_store(f"sqlite:{tmp_path / 'metadata.sqlite'}")) == ["COMPLETE", "FAILED"]


def test_store_that_is_lost_while_a_node_runs_fails_that_node(server: S3Server, tmp_path: Path) -> None:
    first = Writes(text="hello")
    with pytest.raises(Exception, match=rf"s3://{BUCKET}/root/LosesTheBucket/lost/2.*there is no such bucket"):
        run(tmp_path, first, LosesTheBucket(source=first.outputs["model"], bucket=BUCKET))
    store = open_store(f"sqlite:{tmp_path / 'metadata.sqlite'}")
    assert states(store) == ["COMPLETE", "FAILED"]
    assert not [name for name in copies(tmp_path) if "Loses" in name]


def test_artifact_of_another_metadata_store_is_neither_mixed_nor_removed(server: S3Server, tmp_path: Path) -> None:
    run(tmp_path / "one", *two())
    taken = rf"s3://{BUCKET}/root/Writes/empty/1, s3://{BUCKET}/root/Writes/model/1"
    with pytest.raises(Exception, match=rf"{taken}: there are already objects .*only one metadata store"):
        run(tmp_path / "other", *two("of another"))
    assert server.objects() == WRITTEN
    # A machine of its own has the folder, and nothing of the first one's copies.
    assert copies(tmp_path / "other") == set()


def test_what_a_local_root_made_is_used_when_the_root_moves_to_a_store_and_back(
    server: S3Server, tmp_path: Path
) -> None:
    here = tmp_path / "artifacts"
    run(tmp_path, *two(), root=str(here))
    assert server.objects() == {}
    assert (here / "Copies" / "copied" / "2" / "text").read_text() == "hello"
    first = Writes(text="hello")
    again = Copies(source=first.outputs["model"]).with_id("Again")
    store = run(tmp_path, first, again)
    assert states(store)[2:] == ["CACHED", "COMPLETE"]
    assert server.objects() == {"root/Again/copied/4/text": b"hello"}
    last = Writes(text="far").with_id("Far")
    run(tmp_path, last)
    far = Writes(text="far").with_id("Far")
    run(tmp_path, far, Copies(source=far.outputs["model"]).with_id("Near"), root=str(here))
    assert (here / "Near" / "copied" / "7" / "text").read_text() == "far"
    assert not [key for key in server.objects() if "Near" in key]
