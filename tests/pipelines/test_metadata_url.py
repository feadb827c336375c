import traceback
from pathlib import Path

import pytest

from components.errors import MetadataError, SpecError
from pipelines.metadata import connection_config, open_store


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
    with pytest.raises(SpecError, match="its port is no number"):
        connection_config(f"mysql://me:secret@db.example:{port}/mill")


def test_unreachable_server_is_told_without_the_password() -> None:
    with pytest.raises(MetadataError) as caught:
        open_store("postgres://me:hunter2@127.0.0.1:1/mill")
    assert "postgres://127.0.0.1: the metadata store cannot be opened" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_store_in_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MetadataError, match="the metadata store cannot be opened"):
        open_store(f"sqlite:{tmp_path}/file/m.sqlite")
