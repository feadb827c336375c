"""Runs as their own processes, as a user starts them, watched through ML Metadata."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from pipelines.file.environment import environment
from pipelines.runs.metadata import latest_run, run_records
from pipelines.storage.metadata_connection import open_store
from tests.small_pipeline import SmallPipeline

LIMIT_SECONDS = 300


def start(small: SmallPipeline, root: Path, *options: str) -> "subprocess.Popen[str]":
    command = [str(Path(sys.executable).parent / "edgemill"), "run", str(small.write()), "--root", str(root), *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def members(group: int) -> list[str]:
    """Commands of the processes of a group that still live."""
    commands = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                commands.append(" ".join(process.cmdline()))
    return commands


def wait_until_gone(group: int) -> None:
    """What a run has started may take a moment longer than the run itself."""
    deadline = time.monotonic() + 300
    while left := members(group):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def states(root: Path) -> dict[str, str]:
    store = open_store(environment(root, None).metadata_url)
    run = latest_run(store)
    return {} if run is None else {node: record.state for node, record in run_records(store, *run).items()}


def wait_until_running(root: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not states(root):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no run was ever registered"
        time.sleep(0.1)


def wait_until(root: Path, node: str, state: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while states(root).get(node) != state:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{node} was never {state}"
        time.sleep(0.5)
