"""ML Metadata on real MariaDB and PostgreSQL servers: `make test-metadata`. Not part of `make test`."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_metadata.metadata_store import ListOptions, OrderByField
from ml_metadata.proto import metadata_store_pb2 as mlmd
from typer.testing import CliRunner

from components.core.errors import MetadataError
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from pipelines.report.status import RunStatus
from pipelines.runs.removal import remove
from pipelines.runs.retention import Rules, plan_removal
from pipelines.storage.metadata_connection import open_store
from tests.pipelines.runs.recorded_runs import NOW, RecordedRuns
from tests.ran import Ran
from tests.servers.servers import NAMES, PASSWORD, QUOTED, Server, missing, server
from tests.small_pipeline import TASK, SmallPipeline

if missing():
    pytest.exit(f"these tests need Debian's packages: apt-get install {' '.join(missing())}", returncode=1)

# How logs and files might hold it.
FORMS = (PASSWORD, QUOTED, "ss/w", "ss%2Fw", "rd-'9", "rd-\\'9")


@pytest.fixture(scope="module", params=NAMES)
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    with server(request.param) as started:
        yield started


def refused(url: str) -> str:
    with pytest.raises(MetadataError) as caught:
        open_store(url)
    printed = "".join(traceback.format_exception(caught.value))
    assert not [form for form in (*FORMS, "hunter22") if form in printed]
    return str(caught.value)


def test_each_connection_reads_what_the_one_before_wrote(running: Server) -> None:
    for number in range(3):
        store = open_store(running.url)
        assert [context.name for context in store.get_contexts_by_type("connections")] == [
            f"{earlier}" for earlier in range(number)
        ]
        kind = store.put_context_type(mlmd.ContextType(name="connections"))
        store.put_contexts([mlmd.Context(type_id=kind, name=f"{number}")])


def test_wrong_credentials_are_reported_without_repeating_them(
    running: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reasons = {
        "mysql": (
            "no reason given",
            "no reason given",
            "Access denied for user 'mill'@'127.0.0.1' to database 'closed'",
        ),
        "postgres": (
            'password authentication failed for user "mill"',
            "no password supplied",
            "permission denied to create database",
        ),
    }[running.scheme]
    urls = (running.url_with("hunter22"), running.url_with(""), running.url_with(QUOTED, "closed"))
    for url, reason in zip(urls, reasons, strict=True):
        message = refused(url)
        assert f"{running.scheme}://127.0.0.1:{running.port}/" in message
        assert "the metadata server refuses" in message
        assert reason in message
    monkeypatch.setenv("EDGEMILL_METADATA_PASSWORD", "hunter22")
    assert reasons[0] in refused(running.url_with(""))
    assert capfd.readouterr().err == ""


def test_password_from_the_environment_opens_the_same_store(running: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(running.url)
    kind = store.put_context_type(mlmd.ContextType(name="password in the URL"))
    store.put_contexts([mlmd.Context(type_id=kind, name="kept")])
    monkeypatch.setenv("EDGEMILL_METADATA_PASSWORD", PASSWORD)
    found = open_store(running.url_with("")).get_contexts_by_type("password in the URL")
    assert [context.name for context in found] == ["kept"]


def test_strings_come_back_as_they_were(running: Server) -> None:
    store = open_store(running.url)
    kind = store.put_context_type(mlmd.ContextType(name="strings", properties={"said": mlmd.STRING}))
    said = ["plain", "it's", '{"json": "{\\"in\\": 1}"}', "C:\\path\\", "\\'; DROP TABLE Type; --", "Größe 中"]
    for number, text in enumerate(said):
        context = mlmd.Context(type_id=kind, name=f"{number}")
        context.properties["said"].string_value = text
        context.custom_properties["more"].string_value = text
        store.put_contexts([context])
    found = {one.name: one for one in open_store(running.url).get_contexts_by_type("strings")}
    assert [found[str(number)].properties["said"].string_value for number in range(len(said))] == said
    assert [found[str(number)].custom_properties["more"].string_value for number in range(len(said))] == said


def test_rows_come_in_order_of_their_ids_whatever_was_changed_last(running: Server) -> None:
    store = open_store(running.url)
    kind = store.put_artifact_type(mlmd.ArtifactType(name="rows"))
    numbers = store.put_artifacts([mlmd.Artifact(type_id=kind, uri=str(number)) for number in range(3)])
    (first,) = store.get_artifacts_by_id(numbers[:1])
    first.state = mlmd.Artifact.LIVE
    store.put_artifacts([first])
    assert [one.id for one in store.get_artifacts_by_id(numbers)] == numbers
    newest = ListOptions(limit=2, order_by=OrderByField.ID, is_asc=False)
    assert [one.id for one in store.get_artifacts(newest)] == numbers[:0:-1]


def test_retention_works_on_it(running: Server, tmp_path: Path) -> None:
    runs = RecordedRuns(tmp_path, "kept", metadata_url=running.url)
    old, new = runs.run("kept-old", 2), runs.run("kept-new", 1)
    runs.made(old, "data:old")
    runs.made(old, "model:old", "data:old")
    runs.cached(new, "data:old")
    plan = plan_removal(runs.store, runs.place, "kept", Rules(keep_runs=1), NOW)
    remove(runs.store, runs.place, plan)
    assert runs.states() == {"data:old": "LIVE", "model:old": "DELETED"}


def test_whole_pipeline_its_lineage_and_a_second_run_from_cache(
    running: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEMILL_METADATA_PASSWORD", PASSWORD)
    small = SmallPipeline(tmp_path)
    small.spec["recipes"] = [{"name": "int8", "scheme": "static_wi8_ai8"}]
    status = tmp_path / "status.json"
    url = running.url_with("")
    options = ("--metadata", url, "--summary-json", str(status), "--log-format", "json")
    first = Ran(small.write(), "small", *options)
    assert first.code == ExitCode.OK, first.output
    assert set(first.states().values()) == {"complete"}
    second = Ran(small.file, "small", *options[:1], running.url, *options[2:])
    assert second.code == ExitCode.OK, second.output
    assert second.executed() == {"push__phone_cpu"}
    assert not (second.root / "metadata.sqlite").exists()

    ended = RunStatus.model_validate_json(status.read_bytes())
    (device,) = ended.devices
    assert (ended.exit_meaning, device.chosen) == ("OK", "int8")
    assert device.release is not None
    lineage = CliRunner().invoke(app, ["lineage", str(device.release.path), "--metadata", url, "--json"])
    assert lineage.exit_code == 0, lineage.output
    labels, waiting = set(), [json.loads(lineage.output)]
    while waiting:
        node = waiting.pop()
        labels.add(node["label"])
        waiting.extend(node["children"])
    assert {"push__phone_cpu", "evaluate", "convert__int8", "calibrate", "baseline", "examples"} <= labels
    report = CliRunner().invoke(app, ["report", "--metadata", url, "--root", str(second.root)])
    assert report.exit_code == 0, report.output

    nodes = {json.loads(line)["node"] for line in (first.folder / "log.jsonl").read_text().splitlines()}
    assert set(first.states()) <= nodes
    printed = capfd.readouterr()
    said = first.output + second.output + lineage.output + report.output + printed.out + printed.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 50
    for form in FORMS:
        assert form not in said
        assert not [path for path in files if form.encode() in path.read_bytes()], form


def test_server_that_is_away_ends_a_run_before_anything_starts(running: Server, tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    away = running.url.replace(f":{running.port}/", ":1/")
    ran = Ran(small.write(), "small", "--metadata", away)
    assert ran.code == ExitCode.NODE_FAILED
    assert f"{running.scheme}://127.0.0.1:1/mill: the metadata server cannot be reached (found: nothing" in ran.output
    assert ran.summary is None
    assert not [form for form in FORMS if form in ran.output]


@pytest.mark.parametrize("name", NAMES)
def test_server_that_is_lost_during_a_run_is_reported(name: str, tmp_path: Path) -> None:
    with server(name) as started:
        # Checks build the model too, before the first node has made anything.
        task = TASK.replace(
            "        layers = tf.keras.layers\n",
            f"""        layers = tf.keras.layers
        import os, pathlib, signal, time
        if pathlib.Path({str(tmp_path)!r}, "root", "small", "artifacts", "baseline").exists():
            os.kill({started.pid}, signal.SIGQUIT if {name == "postgres"} else signal.SIGKILL)
            time.sleep(2)
""",
        )
        status = tmp_path / "status.json"
        options = ("--metadata", started.url, "--summary-json", str(status))
        ran = Ran(SmallPipeline(tmp_path, task).write(), "small", *options)
        assert ran.code == ExitCode.NODE_FAILED
        place = f"{started.scheme}://127.0.0.1:{started.port}/mill"
        assert f"edgemill: {place}: the metadata store was lost during the run" in ran.output
        assert "Traceback" not in ran.output
        ended = RunStatus.model_validate_json(status.read_bytes())
        assert (ended.state, ended.exit_meaning) == ("ended", "NODE_FAILED")
        assert "was lost during the run" in ended.errors[0]
        for form in FORMS:
            assert form not in ran.output
            assert not [path for path in tmp_path.rglob("*") if path.is_file() and form.encode() in path.read_bytes()]
