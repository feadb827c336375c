import socket
from pathlib import Path

import pytest

from components.core.errors import ClusterError, SpecError
from edgemill.exit_codes import ExitCode
from pipelines.checks.beam_job_service import check_job_service
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_job_service_is_looked_for_where_none_is_named() -> None:
    check_job_service(["--runner=PortableRunner", "--job_endpoint=embed", "--direct_num_workers=2"])
    check_job_service([])


def test_one_that_listens_will_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_job_service(["--job_endpoint=127.0.0.1:1", f"--job_endpoint=127.0.0.1:{server.getsockname()[1]}"])


@pytest.mark.parametrize("endpoint", ["", "localhost", "localhost:", ":8099", "localhost:http", "localhost:99999"])
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(SpecError, match=f"not the address of a Beam job service.*{endpoint}"):
        check_job_service([f"--job_endpoint={endpoint}"])


def test_one_that_is_away_is_reported_before_anything_runs(tmp_path: Path) -> None:
    endpoint = f"localhost:{free_port()}"
    with pytest.raises(ClusterError, match="Connection refused"):
        check_job_service([f"--job_endpoint={endpoint}"])
    beam = ["--beam-arg=--runner=PortableRunner", f"--beam-arg=--job_endpoint={endpoint}"]
    ran = Ran(SmallPipeline(tmp_path).write(), "small", *beam)
    assert ran.code == ExitCode.NODE_FAILED
    assert (
        f"--job_endpoint={endpoint}: Beam's job service does not answer (expected: a connection within 5 s"
        in ran.output.replace("\n", " ")
    )
    assert "start the job service, or correct host and port. Nothing ran" in ran.output.replace("\n", " ")
    assert not list(ran.root.rglob("*.json")) and not list(ran.root.rglob("*.sqlite"))
