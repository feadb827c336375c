"""Connects to ML Metadata by URL. Imports neither TFX nor TensorFlow."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from components.core.errors import MetadataError, SpecError, UnknownRunError, summary_line
from pipelines.file.redaction import PASSWORD_VARIABLE, hide, libpq_quoted, secrets_of
from pipelines.storage.postgres_store import patch_postgres

# A transaction on SQLite takes milliseconds.
_LOCK_SECONDS = 5.0
# Longer than any server takes to answer. Without a limit, the system would try for minutes.
_ANSWER_SECONDS = 10.0
_PORTS = {"mysql": 3306, "postgres": 5432, "postgresql": 5432}
_NATIVE = re.compile(r"PostgreSQL error: (.*?)(?=^[IWEF]\d{4} |\Z)", re.MULTILINE | re.DOTALL)
# ML Metadata's message for every refusal by a MySQL server.
_EMPTY_ANSWER = "errno: , error:"


def connection_config(url: str) -> Any:
    """Parse `sqlite:PATH`, `mysql://user:password@host:port/db`, or `postgres://...` into an MLMD ConnectionConfig.

    A server's password can be in the environment variable EDGEMILL_METADATA_PASSWORD instead of the URL.

    Raises:
        SpecError: The URL isn't one of these.
    """
    from ml_metadata.proto import metadata_store_pb2

    config = metadata_store_pb2.ConnectionConfig()
    parts, port = _address(url)
    # Two processes on one SQLite file occasionally abort each other's transactions, so retry.
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
            patch_postgres()
            # Unlike MySQL's, this port is a string.
            config.postgresql.host, config.postgresql.port = parts.hostname, str(port or _PORTS["postgres"])
            config.postgresql.user, config.postgresql.dbname = libpq_quoted(user), database
            config.postgresql.password = libpq_quoted(password) if password else ""
        return config
    raise SpecError(
        "this is not a metadata URL",
        where="--metadata",
        bound="sqlite:PATH, mysql://user:password@host:port/database or postgres://user:password@host:port/database",
        measured=parts.scheme or "no scheme",
        remedy="correct it",
    )


def _address(url: str) -> tuple[SplitResult, int | None]:
    """Split the URL into its parts and its port. Errors never quote the URL: any part could belong to a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        whole = False
    else:
        # An unescaped `#`, `?`, or `/` in a password ends the address early, with an `@` in the remainder.
        whole = url.startswith("sqlite:") or not (parts.query or parts.fragment or "@" in parts.path)
    if not whole:
        raise SpecError(
            "this is not a metadata URL: its port is not a number, or something follows the database name",
            where="--metadata",
            bound="mysql://user:password@host:port/database or postgres://user:password@host:port/database",
            remedy="correct it; in user and password write # as %23, / as %2F, ? as %3F, @ as %40, : as %3A, [ as %5B",
        )
    return parts, port


def open_store(url: str) -> Any:
    """Connect to a MetadataStore.

    Raises:
        SpecError: As for `connection_config`.
        MetadataError: The store can't be reached, or refuses the connection. The message never contains the password.
    """
    config = connection_config(url)
    if not config.HasField("sqlite"):
        return _open_server(url, config)
    from ml_metadata.metadata_store import metadata_store

    try:
        file = Path(config.sqlite.filename_uri)
        # SQLite would wait forever for the writer of a pipe.
        if file.exists() and not file.is_file():
            raise OSError("it is not a regular file")
        file.parent.mkdir(parents=True, exist_ok=True)
        _refuse_locked(file)
        return metadata_store.MetadataStore(config)
    except Exception as error:
        raise store_error(error, url) from error


def _refuse_locked(file: Path) -> None:
    """Wait for another process's transaction only as long as one can take. ML Metadata waits for almost a minute."""
    if file.exists() and file.stat().st_size:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", _LOCK_SECONDS, uri=True, isolation_level=None)) as one:
            one.execute("BEGIN IMMEDIATE")
            one.execute("ROLLBACK")


def store_error(error: Exception, where: str) -> MetadataError:
    """Convert an error of ML Metadata, or of the file system below it, for an SQLite store."""
    reason = summary_line(error).removeprefix("Error when executing query: ").partition(" query: ")[0]
    what, remedy = "the metadata store cannot be opened", "check that the file and its folder can be written"
    if any(words in reason for words in ("not a database", "malformed", "disk I/O error")):
        what = "the metadata store is damaged"
        remedy = "restore the file from a backup, or run with another --root, which starts an empty store"
        if "disk I/O error" in reason:
            # SQLite reports the same for a truncated file and for a file that may not grow.
            what += ", or cannot be written"
            remedy = f"check the free space, the disk, and the file size limit (`ulimit -f`); or {remedy}"
    elif "locked" in reason or "Concurrent writes" in reason:
        what = "the metadata store is locked by another process"
        remedy = f"wait until that process ends, or end it: `fuser {where}` shows it"
    return MetadataError(what, where=where, measured=reason, remedy=remedy)


def open_existing_store(url: str) -> Any:
    """Connect to a MetadataStore for commands that only read. Never creates a store.

    Raises:
        SpecError: As for `connection_config`.
        MetadataError: As for `open_store`, or the file doesn't exist.
    """
    config = connection_config(url)
    if config.HasField("sqlite"):
        file = Path(config.sqlite.filename_uri)
        try:
            there = file.stat().st_size > 0
        except (OSError, ValueError):
            there = False
        if not there:
            raise UnknownRunError(
                "there is no metadata store",
                where=str(file),
                bound="the store that the runs were recorded in",
                remedy="use the same --root or --metadata as for `edgemill run`",
            )
    return open_store(url)


def place_of_store(url: str) -> str:
    """Return the URL of a metadata store without user and password, for messages."""
    parts, port = _address(url)
    if parts.scheme not in _PORTS:
        return url
    return f"{parts.scheme}://{parts.hostname}:{port or _PORTS[parts.scheme]}{parts.path}"


def _open_server(url: str, config: Any) -> Any:
    from ml_metadata.metadata_store import metadata_store

    place, (parts, port) = place_of_store(url), _address(url)
    problem = _why_unreachable(str(parts.hostname), port or _PORTS[parts.scheme])
    if problem:
        raise MetadataError(
            "the metadata server cannot be reached",
            where=place,
            measured=problem,
            remedy="check that the server runs, its address, and the firewalls",
        )
    with _native_words() as captured:
        try:
            return metadata_store.MetadataStore(config)
        except Exception as error:
            words = captured() or " ".join(str(error).split())
    # Without the cause, because native code could put a secret into it.
    raise MetadataError(
        "the metadata server refuses the connection",
        where=place,
        measured=hide(words, secrets_of(url)) if _EMPTY_ANSWER not in words else "no reason given",
        remedy=f"check user, password ({PASSWORD_VARIABLE} if the URL has none), and database"
        + ("; MySQL 8 needs a user with mysql_native_password" if parts.scheme == "mysql" else ""),
    )


def _why_unreachable(host: str, port: int) -> str:
    """Return why a server can't be reached; empty if it accepts connections."""
    try:
        with socket.create_connection((host, port), _ANSWER_SECONDS):
            return ""
    except socket.gaierror:
        return "its host is unknown"
    except ConnectionRefusedError:
        return "nothing listens there"
    except TimeoutError:
        return f"it does not answer within {_ANSWER_SECONDS:.0f} s"
    except OSError as error:
        return str(error.strerror or error)


@contextmanager
def _native_words() -> Iterator[Callable[[], str]]:
    """Capture native code's output to stderr: ML Metadata's exceptions don't contain a server's answer."""
    with tempfile.TemporaryFile() as file:
        terminal = os.dup(2)
        os.dup2(file.fileno(), 2)

        def captured() -> str:
            # stderr shares the file's position: read without moving it.
            found = _NATIVE.findall(os.pread(file.fileno(), 1 << 16, 0).decode(errors="replace"))
            return " ".join(found[-1].split()) if found else ""

        try:
            yield captured
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
