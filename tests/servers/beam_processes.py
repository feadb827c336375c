"""Runs whose Beam works in several processes, also ended by a signal to the run alone: `make test-beam`."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import tensorflow as tf

from edgemill.exit_codes import ExitCode
from tests.e2e.test_inputs import examples_evaluated, pipeline_with_speakers
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline
from tests.started_run import LIMIT_SECONDS, members, start, states, wait_until, wait_until_gone

_WORKERS = ("--beam-arg=--direct_num_workers=2", "--beam-arg=--direct_running_mode=multi_processing")


@pytest.mark.parametrize(
    ("runner", "sent", "status"),
    [("local", signal.SIGTERM, 143), ("beam", signal.SIGTERM, 143), ("beam", signal.SIGINT, 130)],
)
def test_signal_to_the_run_alone_ends_beams_workers_and_the_next_run_continues(
    runner: str, sent: signal.Signals, status: int, tmp_path: Path
) -> None:
    small, root, status_file = SmallPipeline(tmp_path), tmp_path / "root", tmp_path / "summary.json"
    options = (f"--runner={runner}", *_WORKERS)
    process = start(small, root, "--summary-json", str(status_file), *options)
    wait_until(root, "examples", "complete", process)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not any("sdk_worker_main" in command for command in members(process.pid)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "Beam started no worker process"
        time.sleep(0.05)
    os.kill(process.pid, sent)
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == status, output
    summary = json.loads(status_file.read_text())
    assert (summary["state"], summary["exit_status"]) == ("ended", status)
    wait_until_gone(process.pid)
    assert states(root)["statistics"] != "complete"

    again = start(small, root, *options)
    wait_until(root, "examples", "cached", again)
    wait_until(root, "statistics", "running", again)
    os.killpg(again.pid, signal.SIGKILL)
    again.wait()


def test_beam_in_several_processes_draws_the_same_sample(tmp_path: Path) -> None:
    alone = Ran(pipeline_with_speakers(tmp_path / "alone").write(), "small")
    spread = Ran(pipeline_with_speakers(tmp_path / "spread").write(), "small", *_WORKERS)
    assert spread.code == ExitCode.OK, spread.output

    def sample(ran: Ran) -> list[bytes]:
        (file,) = (ran.root / "small" / "artifacts" / "calibrate").glob("sample/*/Split-calibration/*.gz")
        return sorted(tf.data.TFRecordDataset(str(file), compression_type="GZIP").as_numpy_iterator())

    assert len(sample(alone)) == 100
    assert sample(alone) == sample(spread)
    assert examples_evaluated(alone) == examples_evaluated(spread) == 120
