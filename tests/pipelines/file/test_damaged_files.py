import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.core.errors import MetadataError, StorageError
from edgemill.main import app
from pipelines.file.environment import environment
from pipelines.runs.run import read_plan
from pipelines.storage.metadata_connection import open_store

LOCKER = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    file = tmp_path / "metadata.sqlite"
    open_store(f"sqlite:{file}")
    return file


@pytest.mark.parametrize("damage", ["garbage", "short", "half", "flip"])
def test_damaged_store_is_called_damaged(store: Path, damage: str) -> None:
    whole = store.read_bytes()
    store.write_bytes(
        {
            "garbage": b"no store at all" * 100,
            "short": whole[:50],
            "half": whole[: len(whole) // 2],
            "flip": whole[:100] + b"\xff" * 8000 + whole[8100:],
        }[damage]
    )
    with pytest.raises(MetadataError, match=r"the metadata store is damaged.*restore the file from a backup"):
        open_store(f"sqlite:{store}")
    ran = CliRunner().invoke(app, ["report", "--root", str(store.parent), "--metadata", f"sqlite:{store}"])
    assert (ran.exit_code, "the metadata store is damaged" in ran.output) == (1, True)


def test_store_that_may_not_grow_is_not_only_called_damaged(tmp_path: Path) -> None:
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); "
        "from pipelines.storage.metadata_connection import open_store; open_store(sys.argv[1])"
    )
    command = [sys.executable, "-c", limited, f"sqlite:{tmp_path / 'metadata.sqlite'}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "the metadata store is damaged, or cannot be written (found: disk I/O error)" in ended.stderr
    assert "and the file size limit (`ulimit -f`); or restore the file" in ended.stderr


def test_locked_store_is_called_locked(store: Path) -> None:
    command = [sys.executable, "-c", LOCKER, str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as locker:
        assert locker.stdout is not None and locker.stdout.readline() == "locked\n"
        ran = CliRunner().invoke(app, ["report", "--root", str(store.parent), "--metadata", f"sqlite:{store}"])
        assert locker.stdin is not None
        locker.stdin.close()
    assert ran.exit_code == 1
    assert "the metadata store is locked by another process" in ran.output


def test_store_that_is_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MetadataError, match="it is not a regular file"):
        open_store(f"sqlite:{tmp_path / 'pipe'}")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pipeline": 1}', "\0\0"])
def test_damaged_run_file_is_named(tmp_path: Path, content: str) -> None:
    place = environment(tmp_path, None)
    file = place.runs("small") / "run-1" / "run.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(StorageError, match=f"{file}: this file from a run is damaged"):
        read_plan(place, "small", "run-1")
