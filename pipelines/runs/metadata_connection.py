"""Connecting to ML Metadata by URL. Needs neither TFX nor TensorFlow."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from components.core.errors import MetadataError, SpecError, summary_line
from pipelines.file.redaction import PASSWORD_VARIABLE, hide, secrets_of
from pipelines.runs.metadata_server import libpq_quoted, native_words, why_unreachable
from pipelines.runs.postgres_store import mend_postgres

# A transaction on a store of SQLite takes milliseconds.
_LOCK_SECONDS = 5.0


_PORTS = {"mysql": 3306, "postgres": 5432, "postgresql": 5432}


# What ML Metadata makes of every refusal of a MySQL server.
_EMPTY_ANSWER = "errno: , error:"


def connection_config(url: str) -> Any:
    """An MLMD ConnectionConfig from `sqlite:PATH`, `mysql://user:password@host:port/db` or `postgres://...`.

    A server's password may be left out of the URL and be in the environment, as EDGEMILL_METADATA_PASSWORD.

    Raises:
        SpecError: The URL is none of these.
    """
    from ml_metadata.proto import metadata_store_pb2

    config = metadata_store_pb2.ConnectionConfig()
    parts, port = _address(url)
    # Two processes on one SQLite file abort each other's transactions now and then; trying again is the answer.
    config.retry_options.max_num_retries = 20
    if url.startswith("sqlite:") and parts.path:
        config.sqlite.filename_uri = os.path.realpath(url.removeprefix("sqlite:"))
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        return config
    database = parts.path.removeprefix("/")
    if parts.scheme in {"mysql", "postgres", "postgresql"} and parts.hostname and database:
        user = unquote(parts.username or "")
        password = unquote(parts.password or "") or os.environ.get(PASSWORD_VARIABLE, "")
        if parts.scheme == "mysql":
            config.mysql.host, config.mysql.port = parts.hostname, port or _PORTS["mysql"]
            config.mysql.user, config.mysql.password, config.mysql.database = user, password, database
        else:
            mend_postgres()
            # Its port is a string, unlike MySQL's.
            config.postgresql.host, config.postgresql.port = parts.hostname, str(port or _PORTS["postgres"])
            config.postgresql.user, config.postgresql.dbname = libpq_quoted(user), database
            config.postgresql.password = libpq_quoted(password) if password else ""
        return config
    raise SpecError(
        "this is no metadata URL",
        where="--metadata",
        bound="sqlite:PATH, mysql://user:password@host:port/database or postgres://user:password@host:port/database",
        measured=parts.scheme or "no scheme",
        remedy="correct it",
    )


def _address(url: str) -> tuple[SplitResult, int | None]:
    """The URL's parts and its port. Errors repeat nothing of the URL: any part of it may be a password's."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        whole = False
    else:
        # An unescaped `#`, `?` or `/` in a password ends the address early, and the rest with its `@` comes after.
        whole = url.startswith("sqlite:") or not (parts.query or parts.fragment or "@" in parts.path)
    if not whole:
        raise SpecError(
            "this is no metadata URL: its port is no number, or something follows the database's name",
            where="--metadata",
            bound="mysql://user:password@host:port/database or postgres://user:password@host:port/database",
            remedy="correct it; in user and password write # as %23, / as %2F, ? as %3F, @ as %40, : as %3A, [ as %5B",
        )
    return parts, port


def open_store(url: str) -> Any:
    """A connected MetadataStore.

    Raises:
        SpecError: As for `connection_config`.
        MetadataError: It cannot be reached, or refuses. The message never holds the password.
    """
    config = connection_config(url)
    if not config.HasField("sqlite"):
        return _open_server(url, config)
    from ml_metadata.metadata_store import metadata_store

    try:
        file = Path(config.sqlite.filename_uri)
        # SQLite waits for the writer of a pipe without end.
        if file.exists() and not file.is_file():
            raise OSError("it is no regular file")
        file.parent.mkdir(parents=True, exist_ok=True)
        _refuse_locked(file)
        return metadata_store.MetadataStore(config)
    except Exception as error:
        raise store_error(error, url) from error


def _refuse_locked(file: Path) -> None:
    """Wait for another's transaction as long as one can take. ML Metadata, which waits too, takes most of a minute."""
    if file.exists() and file.stat().st_size:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", _LOCK_SECONDS, uri=True, isolation_level=None)) as one:
            one.execute("BEGIN IMMEDIATE")
            one.execute("ROLLBACK")


def store_error(error: Exception, where: str) -> MetadataError:
    """What an error of ML Metadata, or of the file system below it, says about a store of SQLite."""
    said = summary_line(error).removeprefix("Error when executing query: ").partition(" query: ")[0]
    what, remedy = "the metadata store cannot be opened", "check that the file and its folder can be written"
    if any(words in said for words in ("not a database", "malformed", "disk I/O error")):
        what = "the metadata store is damaged"
        remedy = "restore the file from a backup, or run with another --root: its first run begins an empty store"
    elif "locked" in said or "Concurrent writes" in said:
        what = "the metadata store is locked by another process"
        remedy = "wait until that process ends, or end it: `fuser FILE` names it"
    return MetadataError(what, where=where, measured=said, remedy=remedy)


def open_existing_store(url: str) -> Any:
    """A connected MetadataStore, for commands that only read: nothing is created where there is none.

    Raises:
        SpecError: As for `connection_config`.
        MetadataError: As for `open_store`, or there is no such file.
    """
    config = connection_config(url)
    if config.HasField("sqlite"):
        file = Path(config.sqlite.filename_uri)
        try:
            there = file.stat().st_size > 0
        except (OSError, ValueError):
            there = False
        if not there:
            raise MetadataError(
                "there is no metadata store",
                where=str(file),
                bound="the store that the runs were recorded in",
                remedy="name the --root, or the --metadata, that `edgemill run` had",
            )
    return open_store(url)


def place_of_store(url: str) -> str:
    """The URL of a metadata store, for people: without user and password."""
    parts, port = _address(url)
    if parts.scheme not in _PORTS:
        return url
    return f"{parts.scheme}://{parts.hostname}:{port or _PORTS[parts.scheme]}{parts.path}"


def _open_server(url: str, config: Any) -> Any:
    from ml_metadata.metadata_store import metadata_store

    place, (parts, port) = place_of_store(url), _address(url)
    away = why_unreachable(str(parts.hostname), port or _PORTS[parts.scheme])
    if away:
        raise MetadataError(
            "the metadata server cannot be reached",
            where=place,
            measured=away,
            remedy="check that the server runs, its address, and what firewalls let through",
        )
    with native_words() as told:
        try:
            return metadata_store.MetadataStore(config)
        except Exception as error:
            words = told() or " ".join(str(error).split())
    # Without the cause: what native code writes into it is not ours to vouch for.
    raise MetadataError(
        "the metadata server refuses",
        where=place,
        measured=hide(words, secrets_of(url)) if _EMPTY_ANSWER not in words else "no reason given",
        remedy=f"check user, password ({PASSWORD_VARIABLE} where the URL has none) and database"
        + ("; MySQL 8 needs a user with mysql_native_password" if parts.scheme == "mysql" else ""),
    )
