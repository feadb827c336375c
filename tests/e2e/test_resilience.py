"""Runs that are killed, and runs at once on one SQLite store: real processes, as a user starts them."""

import json
import os
import signal
from pathlib import Path

import pytest

from components.push.folder_releases import current
from pipelines.file.environment import environment
from pipelines.runs.metadata_connection import open_store
from tests.small_pipeline import SmallPipeline
from tests.started_run import LIMIT_SECONDS, start, states, wait_until, wait_until_gone

pytestmark = pytest.mark.e2e


def pipeline(folder: Path) -> SmallPipeline:
    """One of a single recipe: each conversion starts a process."""
    small = SmallPipeline(folder)
    small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}]
    return small


def test_killed_run_repeats_only_what_was_not_done(tmp_path: Path) -> None:
    small, root = pipeline(tmp_path), tmp_path / "root"
    killed = start(small, root)
    wait_until(root, "baseline", "complete", killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    done_before = {node for node, state in states(root).items() if state == "complete"}
    assert not (tmp_path / "registry").exists() or not list((tmp_path / "registry").rglob("model.tflite"))
    again = start(small, root)
    output, _ = again.communicate(timeout=LIMIT_SECONDS)
    assert again.returncode == 0, output
    after = states(root)
    assert {"examples", "statistics", "schema", "validate", "baseline"} <= done_before
    assert {node for node, state in after.items() if state == "cached"} == done_before
    assert {state for node, state in after.items() if node not in done_before} == {"complete"}


def test_interrupted_run_says_so_with_a_status_of_its_own(tmp_path: Path) -> None:
    small, root = SmallPipeline(tmp_path), tmp_path / "root"
    # The second run takes from the cache what the first one did before it ended.
    for sent, status, word, validated in (
        (signal.SIGINT, 130, "interrupted", "complete"),
        (signal.SIGTERM, 143, "terminated", "cached"),
    ):
        status_file = tmp_path / f"{word}.json"
        process = start(small, root, "--summary-json", str(status_file))
        wait_until(root, "validate", validated, process)
        assert json.loads(status_file.read_text())["state"] == "running"
        # To the process alone, as `kill` and container runtimes send it: what it started must end with it.
        os.kill(process.pid, sent)
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == status, output
        assert f"edgemill: {word}; run it again: finished work comes from the cache" in output
        assert "Traceback" not in output
        summary = json.loads(status_file.read_text())
        assert (summary["state"], summary["exit_status"], summary["exit_meaning"]) == ("ended", status, word.upper())
        assert summary["errors"] == [word]
        wait_until_gone(process.pid)


def test_two_runs_at_once_on_one_store_both_succeed_and_make_one_release(tmp_path: Path) -> None:
    small, root = pipeline(tmp_path), tmp_path / "root"
    both = [start(small, root), start(small, root)]
    for process in both:
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 0, output
    store = open_store(environment(root, None).metadata_url)
    assert len(store.get_contexts_by_type("pipeline_run")) == 2
    executions = store.get_executions()
    assert {execution.last_known_state for execution in executions} <= {executions[0].COMPLETE, executions[0].CACHED}
    assert current(tmp_path / "registry", "phone_cpu", "small") is not None
    assert len(list((tmp_path / "registry").rglob("model.tflite"))) <= 2
