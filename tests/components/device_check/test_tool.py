"""Child processes that outlive nothing: neither their time-out nor their parent."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from components.core.child import STAGE_FILE
from components.device_check.exchange import MODEL_FILE
from components.device_check.tflm_child import INPUTS_FILE
from components.device_check.tool import run_tool

PARENT = """
import sys
from pathlib import Path
from components.device_check.tool import run_tool
run_tool("TensorFlow Lite Micro", "tflm", Path(sys.argv[1]), 600, ("600", "2"))
"""


@pytest.fixture
def endless(files, tmp_path):
    """A folder with more examples than can be run while a test waits."""
    (tmp_path / MODEL_FILE).write_bytes(files["lstm"])
    np.savez(tmp_path / INPUTS_FILE, **{"0": np.zeros((5_000_000, 6, 4), np.int8)})
    return tmp_path


def wait_for(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "the condition was not true within 300 s"
        time.sleep(0.1)


def working_on(folder):
    return [process for process in psutil.process_iter(["cmdline"]) if str(folder) in (process.info["cmdline"] or ())]


def test_tool_that_works_on_is_killed_at_its_time_out_and_its_work_is_named(endless):
    found = run_tool("TensorFlow Lite Micro", "tflm", endless, 4, ("600", "2"))
    assert found.cause == "timed_out"
    assert found.message == "TensorFlow Lite Micro was stopped after 4 s while running examples"
    # The kernel ends killed workers after a moment.
    wait_for(lambda: not working_on(endless))


def test_tool_ends_with_its_parent_even_when_that_is_killed(endless):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(endless)])
    stage = endless / STAGE_FILE
    wait_for(lambda: stage.exists() and stage.read_text() == "running examples")
    # The parent, the tool, and its two workers, which share its command line.
    wait_for(lambda: len(working_on(endless)) == 4)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(60)
    wait_for(lambda: not working_on(endless))
