import traceback
from pathlib import Path

import pytest

from components.core.errors import MetadataError, SpecError
from pipelines.storage.metadata_connection import connection_config, open_store


def test_sqlite_url_names_a_file(tmp_path: Path) -> None:
    config = connection_config(f"sqlite:{tmp_path}/m.sqlite")
    assert config.sqlite.filename_uri == str(tmp_path / "m.sqlite")


def test_mysql_url_is_taken_apart() -> None:
    mysql = connection_config("mysql://me:p%40ss@db.example:3307/mill").mysql
    assert (mysql.user, mysql.password, mysql.host, mysql.port, mysql.database) == (
        "me",
        "p@ss",
        "db.example",
        3307,
        "mill",
    )
    assert connection_config("mysql://me@db/mill").mysql.port == 3306


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_postgres_url_is_taken_apart(scheme: str) -> None:
    config = connection_config(f"{scheme}://me:secret@db.example/mill").postgresql
    assert (config.user, config.password, config.host, config.port, config.dbname) == (
        "me",
        "secret",
        "db.example",
        "5432",
        "mill",
    )


@pytest.mark.parametrize("url", ["", "sqlite:", "metadata.db", "mysql://host", "oracle://me@host/db"])
def test_other_url_is_refused_with_the_forms_there_are(url: str) -> None:
    with pytest.raises(SpecError, match="sqlite:PATH, mysql://user:password@host:port/database"):
        connection_config(url)


@pytest.mark.parametrize(
    "password", ["hunter2#x", "hunter2/x", "12/hunter2", "12#hunter2", "12?hunter2", "hunter2[x", "12/hunter2@x"]
)
@pytest.mark.parametrize("scheme", ["mysql", "postgres"])
def test_password_that_is_not_escaped_is_refused_without_repeating_it(scheme: str, password: str) -> None:
    with pytest.raises(SpecError) as caught:
        connection_config(f"{scheme}://me:{password}@db.example/mill")
    assert "write # as %23" in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("port", ["port", "99999"])
def test_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(SpecError, match="its port is not a number"):
        connection_config(f"mysql://me:secret@db.example:{port}/mill")


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [("127.0.0.1", 1, "nothing listens there"), ("no-such-host.invalid", 5432, "its host is unknown")],
)
@pytest.mark.parametrize("scheme", ["mysql", "postgres"])
def test_unreachable_server_is_reported_without_the_password(scheme: str, host: str, port: int, why: str) -> None:
    with pytest.raises(MetadataError) as caught:
        open_store(f"{scheme}://me:hunter2@{host}:{port}/mill")
    assert f"{scheme}://{host}:{port}/mill: the metadata server cannot be reached (found: {why})" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_password_that_is_not_in_the_url_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEMILL_METADATA_PASSWORD", "of p@ss/words")
    assert connection_config("mysql://me@db/mill").mysql.password == "of p@ss/words"
    assert connection_config("mysql://me:own@db/mill").mysql.password == "own"
    assert not connection_config("sqlite:m").HasField("mysql")


@pytest.mark.parametrize(
    ("password", "pasted"),
    [
        ("plain-1.2_3", "plain-1.2_3"),
        ("two words", "'two words'"),
        ("it's", "'it\\'s'"),
        ("back\\slash", "'back\\\\slash'"),
    ],
)
def test_postgres_password_is_quoted_for_the_connection_string_that_ml_metadata_pastes_it_into(
    password: str, pasted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEMILL_METADATA_PASSWORD", password)
    assert connection_config("postgres://me@db/mill").postgresql.password == pasted


def test_store_in_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MetadataError, match="the metadata store cannot be opened"):
        open_store(f"sqlite:{tmp_path}/file/m.sqlite")
