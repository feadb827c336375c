import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.core.errors import MetadataError, SpecError
from edgemill.exit_codes import ExitCode, Terminated
from edgemill.main import app
from edgemill.status_file import StatusFile, ending
from pipelines.report import status
from pipelines.report.status import RunStatus


def test_file_says_that_the_run_continues_until_it_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "status.json"
    kept = StatusFile(path, Path("p.yaml"))
    kept.begin()
    begun = RunStatus.model_validate_json(path.read_bytes())
    assert (begun.state, begun.exit_status, begun.pid, begun.host) == (
        "running",
        None,
        os.getpid(),
        socket.gethostname(),
    )
    kept.runs("small", "run-1", tmp_path / "log.txt")
    named = RunStatus.model_validate_json(path.read_bytes())
    assert (named.state, named.run_id, named.log) == ("running", "run-1", str(tmp_path / "log.txt"))
    kept.end(ExitCode.GATE_REFUSED)
    ended = RunStatus.model_validate_json(path.read_bytes())
    assert (ended.state, ended.exit_status, ended.exit_meaning) == ("ended", 3, "GATE_REFUSED")
    assert ended.ended is not None and ended.ended >= ended.started
    assert {"python", "edgemill", "tfx", "tensorflow", "ml-metadata"} <= set(ended.versions)


def test_names_that_are_not_utf8_are_written_with_backslashes(tmp_path: Path) -> None:
    name = os.fsdecode(b"p\xff.yaml")
    kept = StatusFile(tmp_path / "s.json", Path(name))
    kept.begin()
    kept.end(ExitCode.BAD_INPUT, f"{name}: cannot be read")
    found = RunStatus.model_validate_json((tmp_path / "s.json").read_bytes())
    assert (found.pipeline_file, found.errors) == ("p\\udcff.yaml", ("p\\udcff.yaml: cannot be read",))


def test_code_that_ends_by_a_generators_exit_ends_the_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="GeneratorExit"), ending(StatusFile(tmp_path / "s.json", Path("p.yaml"))):
        raise GeneratorExit
    found = RunStatus.model_validate_json((tmp_path / "s.json").read_bytes())
    assert (found.state, found.exit_status) == ("ended", 2)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError("wrong hunter22", remedy="x"), 2),
        (MetadataError("away hunter22", remedy="x"), 1),
        (RuntimeError("bug hunter22"), 1),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
    ],
)
def test_every_early_end_is_reported_with_its_exit_status_and_without_secrets(
    error: BaseException, code: int, tmp_path: Path
) -> None:
    kept = StatusFile(tmp_path / "s.json", Path("p.yaml"))
    kept.secrets = ("hunter22",)
    with pytest.raises(type(error)), ending(kept):
        raise error
    found = RunStatus.model_validate_json((tmp_path / "s.json").read_bytes())
    assert (found.state, found.exit_status) == ("ended", code)
    assert found.errors
    assert "hunter22" not in (tmp_path / "s.json").read_text()


@pytest.mark.parametrize("end", ["os.killpg(0, 9)", "os.abort()", "ctypes.CDLL(None)._exit(0)"])
def test_end_is_written_even_if_the_process_is_killed(end: str, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    program = (
        "import ctypes, os, pathlib, sys\n"
        "from edgemill.status_file import StatusFile, ending\n"
        "status = StatusFile(pathlib.Path(sys.argv[1]), pathlib.Path('p.yaml'))\n"
        "status.begin()\n"
        "with ending(status):\n"
        "    status.runs('small', 'run-1', pathlib.Path('log.txt'))\n"
        f"    {end}\n"
    )
    # Its watcher holds the output: read to the end, the file is written.
    subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        start_new_session=True,
        timeout=300,
        check=False,
    )
    found = RunStatus.model_validate_json(path.read_bytes())
    assert (found.state, found.exit_status, found.exit_meaning, found.run_id) == ("ended", None, "KILLED", "run-1")
    assert found.errors == ("the process was killed, or ended by native code in it",)


def test_bad_pipeline_file_replaces_what_an_earlier_run_left(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("name: x\n")
    (tmp_path / "s.json").write_text('{"exit_status": 0}')
    ran = CliRunner().invoke(
        app,
        ["run", str(tmp_path / "pipeline.yaml"), "--summary-json", str(tmp_path / "s.json"), "--root", str(tmp_path)],
    )
    found = json.loads((tmp_path / "s.json").read_text())
    assert ran.exit_code == found["exit_status"] == ExitCode.BAD_INPUT
    assert (found["exit_meaning"], found["run_id"], found["verdict"]) == ("BAD_INPUT", None, None)
    assert "task" in found["errors"][0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--summary-json", "/proc/nowhere/s.json"], "--summary-json /proc/nowhere/s.json: the summary cannot be"),
        (["--log-format", "xml"], "--log-format: there is no such format (expected: text or json; found: xml)"),
    ],
)
def test_wrong_option_is_reported_before_anything_runs(arguments: list[str], words: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["run", "no.yaml", "--root", str(tmp_path), *arguments])
    assert ran.exit_code == ExitCode.BAD_INPUT
    assert words in ran.output


def test_docs_know_every_field_and_every_exit_status() -> None:
    text = Path("docs/production.md").read_text()
    kinds = (status.RunStatus, status.DeviceStatus, status.CandidateStatus, status.ReleaseStatus)
    for kind in kinds:
        for field in kind.model_fields:
            assert f"`{field}`" in text, f"{kind.__name__}.{field}"
    rows = dict(re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", text, re.MULTILINE))
    assert rows == {str(int(code)): code.name for code in ExitCode}
