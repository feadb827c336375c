"""Runs that are killed, and runs at once on one SQLite store: real processes, as a user starts them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.push.registry import current
from pipelines.environment import environment
from pipelines.metadata import latest_run, open_store, run_records
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e
LIMIT_SECONDS = 300


def start(small: SmallPipeline, root: Path) -> "subprocess.Popen[str]":
    command = [str(Path(sys.executable).parent / "edgemill"), "run", str(small.write()), "--root", str(root)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def states(root: Path) -> dict[str, str]:
    store = open_store(environment(root, None).metadata_url)
    run = latest_run(store)
    return {} if run is None else {node: record.state for node, record in run_records(store, *run).items()}


def wait_until(root: Path, node: str, state: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while states(root).get(node) != state:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{node} was never {state}"
        time.sleep(0.05)


def test_killed_run_repeats_only_what_was_not_done(tmp_path: Path) -> None:
    small, root = SmallPipeline(tmp_path), tmp_path / "root"
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
    process = start(small, root)
    wait_until(root, "validate", "complete", process)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 130, output
    assert "edgemill: interrupted; run it again: what was done is taken from cache" in output
    assert "Traceback" not in output


def test_two_runs_at_once_on_one_store_both_succeed_and_make_one_release(tmp_path: Path) -> None:
    small, root = SmallPipeline(tmp_path), tmp_path / "root"
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
