import json
import logging
import os
import sys
from pathlib import Path

import pytest

from edgemill.run_log import log_path, logged_to
from pipelines.file.redaction import hide, secrets_of

# What TFX logs of a metadata server: the text form of its connection.
URL = "mysql://mill:s%C3%A4cret%22%2F1@db.example/mill"
PASSWORD = 'säcret"/1'


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_record_is_one_json_object_with_its_run_and_node(tmp_path: Path) -> None:
    with logged_to(tmp_path, "json", "run-1"):
        log = logging.getLogger("x.y")
        log.info("before")
        log.info("Component convert__int8 is running.")
        log.warning("two\nlines and %s", "an argument")
        log.info("Component convert__int8 is finished.")
        log.info("between")
        log.info("node evaluate is running.")
        try:
            raise ValueError("broken")
        except ValueError:
            log.exception("it failed")
        log.debug("below the level")
        os.write(2, b"native text\n")
    lines = lines_of(log_path(tmp_path, "json"))
    assert [line["node"] for line in lines] == [None, *["convert__int8"] * 3, None, "evaluate", "evaluate"]
    assert {(line["run"], line["logger"]) for line in lines} == {("run-1", "x.y")}
    assert [lines[i]["level"] for i in (0, 2, 6)] == ["INFO", "WARNING", "ERROR"]
    assert lines[2]["message"] == "two\nlines and an argument"
    assert str(lines[6]["exception"]).endswith("ValueError: broken")
    assert set(lines[0]) == {"time", "level", "logger", "run", "node", "message"}
    assert str(lines[0]["time"]).endswith("+00:00")
    assert (tmp_path / "stderr.txt").read_text() == "native text\n"


def test_text_log_holds_native_output_too_and_logging_is_as_before(tmp_path: Path) -> None:
    before = (logging.getLogger().level, logging.getLogger().handlers[:])
    with logged_to(tmp_path, "text", "run-1"):
        logging.getLogger("x").info("ours")
        os.write(2, b"native text\n")
    written = (tmp_path / "log.txt").read_text()
    assert " INFO x: ours\n" in written
    assert "native text\n" in written
    assert (logging.getLogger().level, logging.getLogger().handlers[:]) == before
    assert not (tmp_path / "stderr.txt").exists()


@pytest.mark.parametrize("form", ["text", "json"])
def test_password_of_the_metadata_server_is_in_no_log(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.storage.metadata_connection import connection_config

    monkeypatch.setenv("EDGEMILL_METADATA_PASSWORD", "from-the-environment")
    with logged_to(tmp_path, form, "run-1", secrets_of(URL)):
        log = logging.getLogger("absl")
        log.info("Using connection config:\n %s", connection_config(URL))
        log.info("as it is %s, in the URL %s, and from-the-environment", PASSWORD, URL)
        try:
            raise ValueError(f"cannot open {URL}")
        except ValueError:
            log.exception("failed with %s", PASSWORD)
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert written.count("***") >= 5
    for form_of_it in (PASSWORD, "s%C3%A4cret", "cret", "from-the-environment"):
        assert form_of_it not in written
    assert 'user: \\"mill\\"' in written or 'user: "mill"' in written


def test_keys_of_object_stores_are_in_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr/XUtn+FEMI=K7MDENG'b")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "made-up")
    with logged_to(tmp_path, "text", "run-1", secrets_of("sqlite:m.sqlite")):
        logging.getLogger("x").info("%r and made-up", {"aws": "wJalr/XUtn+FEMI=K7MDENG'b"})
    written = (tmp_path / "log.txt").read_text()
    assert "***" in written and "XUtn" not in written
    assert "made-up" in written  # too short for a real one, and a word that paths may hold


def test_nothing_is_hidden_where_nothing_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGEMILL_METADATA_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert secrets_of("sqlite:/tmp/password/m.sqlite") == ()
    assert hide("password policy: abc", secrets_of("mysql://me@db/mill")) == "password policy: abc"
    assert hide('password: "x"', ()) == 'password: "***"'


def test_log_is_whole_when_the_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import logging, os, signal, pathlib\n"
        "from edgemill.run_log import logged_to\n"
        f"with logged_to(pathlib.Path({str(tmp_path)!r}), 'json', 'run-1'):\n"
        "    logging.getLogger('x').info('last lines')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == -9
    assert [line["message"] for line in lines_of(tmp_path / "log.jsonl")] == ["last lines"]
