"""Runs that are interrupted or killed, and runs at once on one SQLite store: real processes, as a user starts them."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.push.folder_releases import current
from edgemill.exit_codes import ExitCode
from pipelines.file.environment import environment
from pipelines.storage.metadata_connection import open_store
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline
from tests.started_run import LIMIT_SECONDS, start, states, wait_until, wait_until_gone, wait_until_running

pytestmark = pytest.mark.e2e


def pipeline(folder: Path) -> SmallPipeline:
    """One of a single recipe: each conversion starts a process."""
    small = SmallPipeline(folder)
    small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}]
    return small


@dataclass(frozen=True)
class Stopped:
    """A pipeline whose runs were interrupted, terminated, and killed, one after the other.

    Attributes:
        small: The pipeline.
        root: The folder of its runs.
        ends: What the runs that could still say something said.
    """

    small: SmallPipeline
    root: Path
    ends: dict[str, "End"]


@dataclass(frozen=True)
class End:
    """The end of a run, and its status file while it ran and afterward."""

    status: int
    output: str
    before: dict[str, object]
    after: dict[str, object]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("stopped")
    small, root = pipeline(folder), folder / "root"
    ends = {}
    # Each run takes from the cache what the ones before it did before they ended.
    for sent, word, validated in ((signal.SIGINT, "interrupted", "complete"), (signal.SIGTERM, "terminated", "cached")):
        status_file = folder / f"{word}.json"
        process = start(small, root, "--summary-json", str(status_file))
        wait_until(root, "validate", validated, process)
        before = json.loads(status_file.read_text())
        # To the process alone, as `kill` and container runtimes send it: what it started must end with it.
        os.kill(process.pid, sent)
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
        ends[word] = End(process.returncode, output, before, json.loads(status_file.read_text()))
        wait_until_gone(process.pid)
    killed = start(small, root)
    wait_until(root, "baseline", "complete", killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    return Stopped(small, root, ends)


@pytest.mark.parametrize(("word", "status"), [("interrupted", 130), ("terminated", 143)])
def test_interrupted_run_says_so_with_a_status_of_its_own(stopped: Stopped, word: str, status: int) -> None:
    end = stopped.ends[word]
    assert end.before["state"] == "running"
    assert end.status == status, end.output
    assert f"edgemill: {word}; run it again: finished work comes from the cache" in end.output
    assert "Traceback" not in end.output
    assert (end.after["state"], end.after["exit_status"], end.after["exit_meaning"]) == ("ended", status, word.upper())
    assert end.after["errors"] == [word]


def test_killed_run_repeats_only_what_was_not_done(stopped: Stopped) -> None:
    done_before = {node for node, state in states(stopped.root).items() if state in {"complete", "cached"}}
    assert {"examples", "statistics", "schema", "validate", "baseline"} <= done_before
    registry = stopped.small.folder / "registry"
    assert not registry.exists() or not list(registry.rglob("model.tflite"))
    again = Ran(stopped.small.file, "small")
    assert again.code == ExitCode.OK, again.output
    assert {node for node, state in again.states().items() if state == "cached"} == done_before
    assert {state for node, state in again.states().items() if node not in done_before} == {"complete"}


def test_two_runs_at_once_on_one_store_both_succeed_and_make_one_release(tmp_path: Path) -> None:
    small, root = pipeline(tmp_path), tmp_path / "root"
    # The other run is in this process, which has imported TensorFlow and TFX already.
    one = start(small, root)
    wait_until_running(root, one)
    other = Ran(small.file, "small")
    assert other.code == ExitCode.OK, other.output
    output, _ = one.communicate(timeout=LIMIT_SECONDS)
    assert one.returncode == 0, output
    store = open_store(environment(root, None).metadata_url)
    assert len(store.get_contexts_by_type("pipeline_run")) == 2
    executions = store.get_executions()
    assert {execution.last_known_state for execution in executions} <= {executions[0].COMPLETE, executions[0].CACHED}
    assert current(tmp_path / "registry", "phone_cpu", "small") is not None
    assert len(list((tmp_path / "registry").rglob("model.tflite"))) <= 2
