"""Runs that are killed, and runs at once on one SQLite store: real processes, as a user starts them."""

import json
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


def start(small: SmallPipeline, root: Path, *options: str) -> "subprocess.Popen[str]":
    command = [str(Path(sys.executable).parent / "edgemill"), "run", str(small.write()), "--root", str(root), *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def members(group: int) -> list[str]:
    """Commands of the processes of a group that still live."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    fields = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [one[2] for one in fields if int(one[0]) == group and not one[1].startswith("Z")]


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


@pytest.mark.parametrize(
    ("sent", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_interrupted_run_says_so_with_a_status_of_its_own(
    sent: signal.Signals, status: int, word: str, tmp_path: Path
) -> None:
    small, root, told = SmallPipeline(tmp_path), tmp_path / "root", tmp_path / "summary.json"
    process = start(small, root, "--summary-json", str(told))
    wait_until(root, "validate", "complete", process)
    assert json.loads(told.read_text())["state"] == "running"
    # To the process alone, as `kill` and container runtimes send it: what it started must end with it.
    os.kill(process.pid, sent)
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == status, output
    assert f"edgemill: {word}; run it again: what was done is taken from cache" in output
    assert "Traceback" not in output
    summary = json.loads(told.read_text())
    assert (summary["state"], summary["exit_status"], summary["exit_meaning"]) == ("ended", status, word.upper())
    assert summary["errors"] == [word]
    deadline = time.monotonic() + 60
    while left := members(process.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


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
