"""Real database servers for tests: private ones, on a folder and their own port, from Debian's packages."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "p@ss/wörd-'9\"\\"
"""Contains characters that URLs, SQL, and protocol buffers write differently."""
QUOTED = "p%40ss%2Fw%C3%B6rd-%279%22%5C"
NAMES = ("mariadb", "postgres")
# Neither server runs as root.
_USER = "nobody"
_SECONDS = 300.0


@dataclass
class Server:
    """A server with an empty database `mill` and a user `mill`.

    Attributes:
        scheme: Of its metadata URL.
        port: On 127.0.0.1.
        pid: Of the server's process.
    """

    scheme: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        return self.url_with(QUOTED)

    def url_with(self, password: str, database: str = "mill") -> str:
        login = f"mill:{password}" if password else "mill"
        return f"{self.scheme}://{login}@127.0.0.1:{self.port}/{database}"


def missing() -> list[str]:
    """Debian packages that a test of metadata servers needs and this machine lacks."""
    packages = []
    if not (_found("mariadbd") and _found("mariadb-install-db") and _found("mariadb")):
        packages.append("mariadb-server")
    if not (_found("postgres") and _found("initdb") and _found("psql")):
        packages.append("postgresql")
    return packages


@contextmanager
def server(name: str) -> Iterator[Server]:
    """Start `mariadb` or `postgres`; stopped and removed at the end, even if this process is interrupted."""
    # Short: a socket's path has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="mill-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, _USER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        with (_mariadb if name == "mariadb" else _postgres)(folder, port) as (scheme, pid):
            yield Server(scheme, port, pid)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _mariadb(folder: Path, port: int) -> Iterator[tuple[str, int]]:
    _run("mariadb-install-db", "--no-defaults", f"--datadir={folder}/data", "--auth-root-authentication-method=normal")
    started = _start(
        folder,
        "mariadbd",
        "--no-defaults",
        f"--datadir={folder}/data",
        f"--socket={folder}/socket",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--pid-file={folder}/pid",
        "--skip-name-resolve",
    )
    with started as process:
        client = ("mariadb", "--no-defaults", f"--socket={folder}/socket", "--user=root", "--execute")
        _until(folder, process, *client, "SELECT 1")
        quoted = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        _run(
            *client,
            "CREATE DATABASE mill; CREATE DATABASE closed; "
            f"CREATE USER mill@'127.0.0.1' IDENTIFIED BY '{quoted}'; GRANT ALL ON mill.* TO mill@'127.0.0.1';",
        )
        yield "mysql", process.pid


@contextmanager
def _postgres(folder: Path, port: int) -> Iterator[tuple[str, int]]:
    _run("initdb", "--pgdata", f"{folder}/data", "--auth=scram-sha-256", "--auth-local=trust", "--username=root")
    options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
    started = _start(
        folder,
        "postgres",
        "-D",
        f"{folder}/data",
        *(part for name in options for part in ("-c", f"{name}={options[name]}")),
    )
    with started as process:
        client = ("psql", f"--host={folder}", f"--port={port}", "--username=root", "--dbname=postgres", "--command")
        _until(folder, process, *client, "SELECT 1")
        quoted = PASSWORD.replace("'", "''")
        _run(*client, f"SET standard_conforming_strings = on; CREATE ROLE mill LOGIN PASSWORD '{quoted}'")
        _run(*client, "CREATE DATABASE mill OWNER mill")
        yield "postgres", process.pid


@contextmanager
def _start(folder: Path, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([_found(program) or program, *arguments], stdout=log, stderr=log, **_as_user())
    try:
        yield process
    finally:
        # PostgreSQL waits for its clients after SIGTERM, and ML Metadata never hangs up; after SIGINT it does not.
        process.send_signal(signal.SIGINT if program == "postgres" else signal.SIGTERM)
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(folder: Path, process: subprocess.Popen[bytes], *command: str) -> None:
    end = time.monotonic() + _SECONDS
    while subprocess.run([_found(command[0]), *command[1:]], capture_output=True, check=False, **_as_user()).returncode:
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the server does not answer:\n{(folder / 'log').read_text()}")
        time.sleep(0.2)


def _run(*command: str) -> None:
    done = subprocess.run(
        [_found(command[0]) or command[0], *command[1:]], capture_output=True, text=True, check=False, **_as_user()
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def _as_user() -> dict[str, object]:
    if os.geteuid() != 0:
        return {"cwd": "/tmp"}
    entry = pwd.getpwnam(_USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/tmp"}


def _found(program: str) -> str | None:
    """A program on PATH, or where Debian hides it."""
    hidden = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *hidden]))
