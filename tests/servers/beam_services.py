"""A complete run on Beam's portable job service with an external worker pool: `make test-beam`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from edgemill.exit_codes import ExitCode
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

_SECONDS = 120.0
# Each hands the job service one job or more.
_BEAM_NODES = ("examples", "statistics", "calibrate", "evaluate")


@dataclass(frozen=True)
class Services:
    """A job service and a worker pool.

    Attributes:
        jobs, pool: `localhost:PORT`.
        pool_log: What the pool printed.
    """

    jobs: str
    pool: str
    pool_log: Path

    def arguments(self) -> list[str]:
        options = {
            "runner": "PortableRunner",
            "job_endpoint": self.jobs,
            "environment_type": "EXTERNAL",
            "environment_config": self.pool,
            "job_server_timeout": "600",
        }
        return [f"--beam-arg=--{name}={value}" for name, value in options.items()]

    def states(self) -> list[str]:
        """Of every job that the service was given."""
        with grpc.insecure_channel(self.jobs) as channel:
            stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
            found = stub.GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=_SECONDS)
        return [beam_job_api_pb2.JobState.Enum.Name(job.state) for job in found.job_info]

    def workers(self) -> set[str]:
        """Ids of the workers that the pool has started."""
        return set(re.findall(r'worker_id="([^"]+)"', self.pool_log.read_text()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(module: str, port_option: str, folder: Path, importable: Path) -> Iterator[tuple[str, Path]]:
    """A server of Beam's on a free port, ended with all that it has started.

    Args:
        module: The server's.
        port_option: How it takes its port.
        folder: For its log.
        importable: Folder of the task.
    """
    port, log = free_port(), folder / f"{module.rpartition('.')[2]}.log"
    # A pool starts workers with the `python` that it finds.
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    env |= {"TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(importable)])}
    command = [sys.executable, "-m", module, port_option, str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=env, start_new_session=True)
    try:
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            ready = grpc.channel_ready_future(channel)
            end = time.monotonic() + _SECONDS
            while True:
                try:
                    ready.result(timeout=1)
                    break
                except grpc.FutureTimeoutError:
                    assert process.poll() is None and time.monotonic() < end, log.read_text()
        yield f"localhost:{port}", log
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with ExitStack() as stack:
        servers = (
            ("apache_beam.runners.portability.local_job_service_main", "-p"),
            ("apache_beam.runners.worker.worker_pool_main", "--service_port"),
        )
        (jobs, _), (pool, log) = (
            stack.enter_context(started(*server, tmp_path, importable=tmp_path / "pooled")) for server in servers
        )
        yield Services(jobs, pool, log)


def records(ran: Ran, pattern: str) -> list[bytes]:
    """Of gzipped TFRecord files, sorted: the order in which workers end is nobody's promise."""
    import tensorflow as tf

    files = [str(file) for file in sorted((ran.root / "small" / "artifacts").glob(pattern))]
    assert files, pattern
    return sorted(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())


def figures(ran: Ran) -> dict[str, tuple[object, ...]]:
    """Recipe -> what was measured of its file."""
    assert ran.summary is not None and ran.summary.evaluation is not None
    return {
        one.name: (
            one.outcome.inspection.file_bytes,
            *((part.slice, part.examples, part.metrics["accuracy"], part.change["accuracy"]) for part in one.slices),
        )
        for one in ran.summary.evaluation.candidates
    }


def released(folder: Path) -> bytes:
    """The released file without the numbers in layers' names, which Keras counts up from run to run in a process."""
    (file,) = folder.glob("registry/phone_cpu/small/*/model.tflite")
    return re.sub(rb"(sequential|conv2d|flatten)_\d+", rb"\1", file.read_bytes())


def test_whole_run_in_a_worker_pool_yields_what_the_direct_runner_does(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command line is read as absl's flags on the way to the job service: pytest's -v would be a verbosity.
    monkeypatch.setattr(sys, "argv", ["edgemill"])
    alone = Ran(SmallPipeline(tmp_path / "alone").write(), "small")
    assert alone.code == ExitCode.OK, alone.output
    assert (services.states(), services.workers()) == ([], set())

    pooled = Ran(SmallPipeline(tmp_path / "pooled").write(), "small", *services.arguments())
    assert pooled.code == ExitCode.OK, pooled.output
    assert set(pooled.states().values()) == {"complete"}
    assert set(services.states()) == {"DONE"}
    assert len(services.workers()) >= len(services.states()) >= len(_BEAM_NODES)

    for pattern in ("examples/examples/*/Split-train/*.gz", "calibrate/sample/*/Split-calibration/*.gz"):
        assert records(pooled, pattern) == records(alone, pattern)
    assert figures(pooled) == figures(alone)
    assert released(tmp_path / "pooled") == released(tmp_path / "alone")
