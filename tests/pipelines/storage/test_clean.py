"""Retention of runs whose artifacts lie in an object store."""

from pathlib import Path

import pytest

from components.core.errors import StorageError
from components.object_store.clients import bucket_of
from pipelines.runs.removal import remove
from pipelines.runs.retention import RetentionPlan, Rules, plan_removal
from tests.object_store import BUCKET, S3Server, free_port, s3_user
from tests.pipelines.runs.recorded_runs import BYTES, NOW, RecordedRuns

ROOT = f"s3://{BUCKET}/root"


@pytest.fixture
def recorded(server: S3Server, tmp_path: Path) -> RecordedRuns:
    """`b` took data from cache that `a` made; `a` has a node that was killed while it wrote to the store."""
    runs = RecordedRuns(tmp_path, pipeline_root=ROOT)
    a = runs.run("a", 3)
    runs.made(a, "data:a")
    runs.made(a, "model:a", "data:a")
    runs.made(a, "lost:a", lost=True)
    b = runs.run("b", 2)
    runs.cached(b, "data:a")
    runs.made(b, "model:b", "data:a")
    return runs


def plan(recorded: RecordedRuns) -> RetentionPlan:
    return plan_removal(recorded.store, recorded.place, "small", Rules(keep_runs=1), NOW)


def keys(server: S3Server) -> set[str]:
    return {key.removeprefix("root/small/artifacts/") for key in server.objects()}


def copies(recorded: RecordedRuns) -> set[str]:
    root = recorded.place.staged("small") / "s3" / BUCKET / "root" / "small" / "artifacts"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_what_no_kept_run_uses_goes_from_the_store_and_its_copies_with_it(
    recorded: RecordedRuns, server: S3Server
) -> None:
    server.client().put_object(Bucket=BUCKET, Key="root/other/artifacts/model/out/2/content", Body=b"another's")
    found = plan(recorded)
    here = f"{ROOT}/small/artifacts"
    assert set(found.addresses) == {f"{here}/model/out/2", f"{here}/lost/out/3"}
    run_bytes = sum(path.stat().st_size for path in (recorded.place.runs("small") / "a").iterdir())
    assert found.freed_bytes == 4 * BYTES + run_bytes  # in the store, and as copies
    assert len(keys(server)) == 5
    remove(recorded.store, recorded.place, found)
    left = {"data/out/1/content", "model/out/5/content"}
    assert keys(server) == left | {"root/other/artifacts/model/out/2/content"}
    assert copies(recorded) == left
    assert recorded.states() == {"data:a": "LIVE", "model:a": "DELETED", "model:b": "LIVE"}
    again = plan(recorded)
    assert (again.artifacts, again.addresses, again.folders, again.freed_bytes) == ((), (), (), 0)


def test_store_that_is_away_is_reported_and_nothing_is_removed_or_marked(
    recorded: RecordedRuns, server: S3Server
) -> None:
    found = plan(recorded)
    with s3_user(f"http://127.0.0.1:{free_port()}", "someone", "anything"):
        with pytest.raises(StorageError, match="the object store cannot be reached"):
            plan(recorded)
        with pytest.raises(StorageError, match="the object store cannot be reached"):
            remove(recorded.store, recorded.place, found)
    assert recorded.states() == {"data:a": "LIVE", "model:a": "MARKED_FOR_DELETION", "model:b": "LIVE"}
    assert len(keys(server)) == 4
    remove(recorded.store, recorded.place, plan(recorded))
    assert keys(server) == {"data/out/1/content", "model/out/5/content"}
    assert recorded.states()["model:a"] == "DELETED"


def test_runs_with_folders_and_runs_with_addresses_are_cleaned_together(server: S3Server, tmp_path: Path) -> None:
    before = RecordedRuns(tmp_path)
    a = before.run("a", 3)
    folder = before.made(a, "model:a")
    after = RecordedRuns(tmp_path, pipeline_root=ROOT)
    after.artifacts = before.artifacts
    b, c = after.run("b", 2), after.run("c", 1)
    after.made(b, "model:b")
    after.made(c, "model:c")
    remove(after.store, after.place, plan(before))
    assert not folder.exists()
    assert keys(server) == {"model/out/3/content"}
    assert after.states() == {"model:a": "DELETED", "model:b": "DELETED", "model:c": "LIVE"}
    assert bucket_of(ROOT).read("root/small/artifacts/model/out/3/content") == bytes(BYTES)
