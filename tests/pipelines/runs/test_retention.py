import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from components.core.errors import MetadataError, SpecError, StorageError
from pipelines.file.environment import environment
from pipelines.runs.lineage import trace
from pipelines.runs.lock import removing, running
from pipelines.runs.metadata import latest_run, register_run
from pipelines.runs.removal import remove
from pipelines.runs.retention import RetentionPlan, Rules, known_pipelines, plan_removal
from pipelines.runs.run import RunPlan, begin
from pipelines.storage.metadata_connection import open_store
from tests.pipelines.runs.recorded_runs import BYTES, NOW, RecordedRuns


@pytest.fixture
def recorded(tmp_path: Path) -> RecordedRuns:
    """Five daily runs. `a` made data that `c` took from cache; `b` made a release, from data and a model of `a`."""
    runs = RecordedRuns(tmp_path / "root")
    release = tmp_path / "registry" / "phone" / "small" / "0123"
    release.mkdir(parents=True)
    a = runs.run("a", 5)
    runs.made(a, "data:a")
    runs.made(a, "model:a", "data:a")
    runs.made(a, "other:a", "data:a")
    b = runs.run("b", 4)
    runs.cached(b, "data:a")
    runs.cached(b, "model:a", "data:a")
    runs.made(b, "candidate:b", "model:a")
    runs.made(b, "push:b", "candidate:b", release=release)
    c = runs.run("c", 3)
    runs.cached(c, "data:a")
    runs.made(c, "model:c", "data:a")
    d = runs.run("d", 2)
    runs.made(d, "data:d")
    runs.made(d, "model:d", "data:d")
    e = runs.run("e", 1)
    runs.cached(e, "data:d")
    runs.made(e, "model:e", "data:d")
    return runs


def plan(recorded: RecordedRuns, **rules: float) -> RetentionPlan:
    return plan_removal(recorded.store, recorded.place, "small", Rules(**rules), NOW)


def names(recorded: RecordedRuns, found: RetentionPlan) -> set[str]:
    by_id = {number: name for name, number in recorded.artifacts.items()}
    return {by_id[number] for number in found.artifacts}


def kept(found: RetentionPlan) -> dict[str, bool]:
    return {run.run_id: run.kept for run in found.runs}


def test_what_kept_runs_took_from_cache_and_what_a_release_was_made_from_stays(recorded: RecordedRuns) -> None:
    found = plan(recorded, keep_runs=1)
    assert kept(found) == {"e": True, "d": False, "c": False, "b": True, "a": False}
    assert {run.run_id: run.why for run in found.runs}["b"].startswith("made the release /")
    assert names(recorded, found) == {"other:a", "model:c", "model:d"}
    run_bytes = sum(
        path.stat().st_size for run in ("a", "c", "d") for path in (recorded.place.runs("small") / run).iterdir()
    )
    assert found.freed_bytes == 3 * BYTES + run_bytes


@pytest.mark.parametrize(
    ("rules", "gone"),
    [
        ({"keep_runs": 2}, {"a", "c"}),
        ({"keep_runs": 9}, set()),
        ({"older_than_days": 2.5}, {"a", "c"}),
        ({"older_than_days": 0}, {"a", "c", "d"}),
        ({"older_than_days": 100}, set()),
        ({"keep_runs": 1, "older_than_days": 3.5}, {"a"}),
        ({"keep_runs": 3, "older_than_days": 0}, {"a"}),
    ],
)
def test_a_run_that_either_rule_keeps_is_kept_and_the_newest_always(
    rules: dict[str, float], gone: set[str], recorded: RecordedRuns
) -> None:
    assert {run for run, stays in kept(plan(recorded, **rules)).items() if not stays} == gone


def test_release_that_left_its_registry_holds_nothing_any_more_but_an_absent_registry_does(
    recorded: RecordedRuns, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "registry" / "phone" / "small" / "0123")
    assert names(recorded, plan(recorded, keep_runs=1)) == {
        *("data:a", "model:a", "other:a", "candidate:b", "push:b", "model:c", "model:d")
    }
    shutil.rmtree(tmp_path / "registry")  # as if it were not mounted
    assert kept(plan(recorded, keep_runs=1))["b"]


def test_only_the_newest_delivery_of_a_release_holds_its_run(recorded: RecordedRuns, tmp_path: Path) -> None:
    f = recorded.run("f", 0.5)
    recorded.cached(f, "data:d")
    recorded.made(f, "push:f", "data:d", release=tmp_path / "registry" / "phone" / "small" / "0123")
    found = plan(recorded, keep_runs=1)
    assert kept(found) == {"f": True, "e": False, "d": False, "c": False, "b": False, "a": False}
    assert "data:d" not in names(recorded, found)
    assert {"push:b", "candidate:b", "model:a"} <= names(recorded, found)


def test_release_keeps_all_that_it_was_made_from_also_what_its_own_run_never_named(
    recorded: RecordedRuns, tmp_path: Path
) -> None:
    f = recorded.run("f", 0.5)
    recorded.made(f, "push:f", "candidate:b", release=tmp_path / "registry" / "phone" / "small" / "0123")
    found = plan(recorded, keep_runs=1)
    assert not kept(found)["b"]
    assert names(recorded, found) == {"push:b", "other:a", "model:c", "data:d", "model:d", "model:e"}


def test_removed_artifacts_are_deleted_in_metadata_and_on_disk_and_nothing_else_is(recorded: RecordedRuns) -> None:
    found = plan(recorded, keep_runs=1)
    before = sorted(recorded.place.root.rglob("content"))
    remove(recorded.store, recorded.place, found)
    assert {name for name, state in recorded.states().items() if state == "DELETED"} == {
        *("other:a", "model:c", "model:d")
    }
    assert set(recorded.states().values()) == {"LIVE", "DELETED"}
    there, gone = recorded.store.get_artifacts_by_id([recorded.artifacts[name] for name in ("data:d", "model:d")])
    assert trace(recorded.store, gone).details["content"] == "removed by `edgemill clean`"
    assert "content" not in trace(recorded.store, there).details
    assert len(before) - len(list(recorded.place.root.rglob("content"))) == 3
    assert {path.name for path in recorded.place.runs("small").iterdir()} == {"b", "e"}
    again = plan(recorded, keep_runs=1)
    assert (again.artifacts, again.folders, again.freed_bytes, again.contexts) == ((), (), 0, ())


def test_runs_of_another_root_on_the_same_store_keep_what_they_use(recorded: RecordedRuns, tmp_path: Path) -> None:
    other = RecordedRuns(tmp_path / "other", metadata_url=recorded.place.metadata_url)
    other.artifacts = recorded.artifacts
    z = other.run("z", 30)
    other.cached(z, "model:c")
    assert names(recorded, plan(recorded, keep_runs=1)) == {"other:a", "model:d"}
    assert kept(plan(other, keep_runs=1)) == {"z": True}
    assert plan(other, keep_runs=1).artifacts == ()


def test_what_killed_runs_left_goes_with_them(recorded: RecordedRuns) -> None:
    x = recorded.run("x", 9)
    lost = recorded.made(x, "lost", lost=True)
    system = recorded.place.artifacts("small") / "lost" / ".system" / "executor_execution" / lost.name
    system.mkdir(parents=True)
    checkpoints = recorded.place.artifacts("small") / "qat__x" / "checkpoints"
    for name, when in (("old", NOW.timestamp() - 5 * 86400), ("new", NOW.timestamp())):
        (checkpoints / name).mkdir(parents=True)
        (checkpoints / name / "epoch-1").write_bytes(bytes(BYTES))
        for path in (checkpoints / name / "epoch-1", checkpoints / name):
            os.utime(path, (when, when))
    remove(recorded.store, recorded.place, plan(recorded, keep_runs=5))
    assert not lost.exists()
    assert not system.exists()
    assert {path.name for path in checkpoints.iterdir()} == {"new"}
    assert {path.name for path in recorded.place.runs("small").iterdir()} == set("abcde")


@pytest.mark.parametrize("step", range(8))
def test_removal_that_is_killed_anywhere_is_ended_by_the_next_whatever_its_rules(
    step: int, recorded: RecordedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each step that changes anything: two that mark, and each folder."""
    found = plan(recorded, keep_runs=1)
    assert len(found.folders) == 6
    done = 0

    def counted(what):
        def call(*arguments: object) -> object:
            nonlocal done
            if done == step:
                raise KeyboardInterrupt
            done += 1
            return what(*arguments)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(recorded.store, "put_artifacts", counted(recorded.store.put_artifacts))
        patched.setattr(shutil, "rmtree", counted(shutil.rmtree))
        with pytest.raises(KeyboardInterrupt):
            remove(recorded.store, recorded.place, found)
    for name, number in recorded.artifacts.items():
        (artifact,) = recorded.store.get_artifacts_by_id([number])
        assert artifact.state != artifact.LIVE or (Path(artifact.uri) / "content").exists(), name
    remove(recorded.store, recorded.place, plan(recorded, keep_runs=100))
    assert {name for name, state in recorded.states().items() if state != "LIVE"} == {"other:a", "model:c", "model:d"}
    assert "MARKED_FOR_DELETION" not in recorded.states().values()
    assert {path.name for path in recorded.place.runs("small").iterdir()} == {"b", "e"}
    assert plan(recorded, keep_runs=100).folders == ()


def test_folder_that_cannot_be_removed_is_reported_and_the_rest_is_ended_later(
    recorded: RecordedRuns, tmp_path: Path
) -> None:
    found = plan(recorded, keep_runs=1)
    linked = Path(found.folders[0])
    linked.rename(tmp_path / "elsewhere")
    linked.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"cannot be removed: .*symbolic link.*clean again"):
        remove(recorded.store, recorded.place, found)
    assert "MARKED_FOR_DELETION" in recorded.states().values()
    linked.unlink()
    remove(recorded.store, recorded.place, plan(recorded, keep_runs=1))
    assert "MARKED_FOR_DELETION" not in recorded.states().values()


def test_folder_without_a_run_of_ours_stays_however_old(recorded: RecordedRuns) -> None:
    weights = recorded.place.root / "yolo" / "runs" / "exp1" / "weights.pt"
    notes = recorded.place.runs("small") / "exp1" / "notes.txt"
    copy = recorded.place.runs("small") / "copy-of-a"
    for file in (weights, notes):
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(BYTES))
        os.utime(file.parent, (1e9, 1e9))
    shutil.copytree(recorded.place.runs("small") / "a", copy)
    (recorded.place.root / "tool" / "runs" / "1").mkdir(parents=True)
    (recorded.place.root / "tool" / "runs" / "1" / "run.json").write_text('{"pipeline": 3}')
    assert known_pipelines(recorded.store, recorded.place) == ["small"]
    for name in ("yolo", "tool"):
        assert plan_removal(recorded.store, recorded.place, name, Rules(keep_runs=1), NOW).folders == ()
    found = plan(recorded, keep_runs=1)
    assert set(kept(found)) == set("abcde")
    remove(recorded.store, recorded.place, found)
    assert weights.stat().st_size == notes.stat().st_size == BYTES
    assert {path.name for path in recorded.place.runs("small").iterdir()} == {"b", "e", "exp1", "copy-of-a"}


def test_run_that_the_store_does_not_know_is_refused(recorded: RecordedRuns, tmp_path: Path) -> None:
    other = RecordedRuns(recorded.place.root, metadata_url=f"sqlite:{tmp_path / 'other.sqlite'}")
    refused = r"runs/a/run\.json: this run is not in the metadata store.*use the --metadata that it ran with"
    with pytest.raises(MetadataError, match=refused):
        known_pipelines(other.store, other.place)
    with pytest.raises(MetadataError, match=refused):
        plan(other, keep_runs=1)
    assert {path.name for path in recorded.place.runs("small").iterdir()} == set("abcde")


def test_run_killed_before_its_first_node_goes_like_any_other(recorded: RecordedRuns) -> None:
    for run_id, days in (("x", 9), ("y", 0.5)):
        shutil.rmtree(recorded.place.runs("small") / run_id, ignore_errors=True)
        recorded.run(run_id, days, registered=False)
        register_run(recorded.store, "small", run_id)
    assert known_pipelines(recorded.store, recorded.place) == ["small"]
    found = plan(recorded, keep_runs=6)
    assert kept(found) == {**dict.fromkeys("yedcba", True), "x": False}
    remove(recorded.store, recorded.place, found)
    assert {path.name for path in recorded.place.runs("small").iterdir()} == set("yedcba")
    # Twice, as a retry does; of another pipeline's folder the store still knows nothing.
    register_run(recorded.store, "small", "y")
    recorded.place.runs("small").joinpath("y").rename(recorded.place.runs("small") / "z")
    assert known_pipelines(recorded.store, recorded.place) == ["small"]
    other = RecordedRuns(recorded.place.root, "other", recorded.place.metadata_url)
    other.run("y", 1, registered=False)
    with pytest.raises(MetadataError, match=r"other/runs/y/run\.json: this run is not in the metadata store"):
        known_pipelines(recorded.store, recorded.place)


def test_first_run_of_all_is_known_before_its_first_node(tmp_path: Path) -> None:
    place = environment(tmp_path, None)
    store = open_store(place.metadata_url)
    plan_of_a = RunPlan(pipeline="small", run_id="a", started=NOW - timedelta(days=3), nodes=(), devices=(), errors={})
    folder = place.runs("small") / "a"
    folder.parent.mkdir(parents=True)
    folder.write_text("a file in the way, as if the run were killed here")
    with pytest.raises(FileExistsError):
        begin(store, plan_of_a, place)
    assert known_pipelines(store, place) == []
    folder.unlink()
    folder.mkdir()
    (folder / "run.json").write_text(plan_of_a.model_dump_json())
    assert known_pipelines(store, place) == ["small"]
    folder.joinpath("run.json").unlink()
    begin(store, plan_of_a, place)
    assert known_pipelines(store, place) == ["small"]
    runs = RecordedRuns(tmp_path)
    b = runs.run("b", 1)
    runs.made(b, "data:b")
    assert kept(plan(runs, keep_runs=1)) == {"b": True, "a": False}
    assert latest_run(store) == ("small", "b")
    runs.made(runs.run("c", 0), "data:c")
    # The clock was a day ahead during an earlier run.
    with sqlite3.connect(place.metadata_url.removeprefix("sqlite:")) as rows:
        ahead = "UPDATE Context SET create_time_since_epoch = create_time_since_epoch + 86400000 WHERE name = 'b'"
        assert rows.execute(ahead).rowcount == 1
    assert latest_run(open_store(place.metadata_url)) == ("small", "c")


def test_symbolic_links_lead_to_nothing_that_is_removed(recorded: RecordedRuns, tmp_path: Path) -> None:
    whole = recorded.place.root / "small"
    outside = whole.rename(tmp_path / "outside")
    whole.symlink_to(outside)
    before = sorted(outside.rglob("*"))
    assert known_pipelines(recorded.store, recorded.place) == []
    assert plan(recorded, keep_runs=1).folders == ()
    whole.unlink()
    outside.rename(whole)
    found = plan(recorded, keep_runs=1)
    (whole / "artifacts").rename(tmp_path / "elsewhere")
    (whole / "artifacts").symlink_to(tmp_path / "elsewhere")
    there = sorted((tmp_path / "elsewhere").rglob("*"))
    linked = plan(recorded, keep_runs=1)
    assert (linked.artifacts, len(linked.folders)) == ((), 3)  # the runs' own
    with pytest.raises(StorageError, match="cannot be removed: a symbolic link leads out of the pipeline's folder"):
        remove(recorded.store, recorded.place, found)
    assert sorted((tmp_path / "elsewhere").rglob("*")) == there
    assert len(before) > len(there) > 0


def in_another_process(kind: str, folder: Path) -> int:
    code = f"import pathlib\nfrom pipelines.runs.lock import {kind}\nwith {kind}(pathlib.Path({str(folder)!r})): pass\n"
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode


def test_runs_share_a_folder_and_exclude_removal(tmp_path: Path) -> None:
    with running(tmp_path):
        assert in_another_process("running", tmp_path) == 0
        assert in_another_process("removing", tmp_path) == 1
    with removing(tmp_path):
        assert in_another_process("running", tmp_path) == 1
    assert in_another_process("removing", tmp_path) == 0


def test_busy_folder_is_reported_with_a_fix(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\nfrom pipelines.runs.lock import running\n"
        f"with running(pathlib.Path({str(tmp_path)!r})):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(SpecError, match=r"a run is in progress here\. Remedy: clean after it ends"),
            removing(tmp_path),
        ):
            pass
        holder.kill()
    with removing(tmp_path):
        pass
