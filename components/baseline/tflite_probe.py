"""Loads a TFLite file in a separate process first, because damaged bytes can crash the runtime."""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from multiprocessing.connection import wait
from pathlib import Path

import psutil

from components.core.child import end_with_parent, how_it_ended
from components.core.errors import EdgemillError, ModelError, summary_line
from components.upstream.fork_server import ForkedProcess, exit_code, fork_server, forked, release_server

_LIMIT_S = 600
_ERROR_FILE = "error"
# TensorFlow takes seconds to import, so the server imports it once.
_SERVER = fork_server(["components.baseline", "tensorflow"])


def refuse_crashing(path: Path) -> None:
    """Refuse a TFLite file that the runtime rejects, or that crashes the process that loads and runs it.

    Raises:
        ModelError: The file is damaged, or uses an operator that the runtime doesn't have.
    """
    preparation = {"sys_path": [entry or str(Path.cwd()) for entry in sys.path], "dir": str(Path.cwd())}
    with tempfile.TemporaryDirectory(prefix="edgemill-tflite-") as name:
        folder = Path(name)
        with forked(_SERVER, preparation, _Loading(path.resolve(), folder)) as (process, sentinel):
            if not wait([sentinel], timeout=_LIMIT_S):
                psutil.Process(process).kill()
            code = exit_code(sentinel)
        if (folder / _ERROR_FILE).is_file():
            # Our own process wrote it.
            raise pickle.loads((folder / _ERROR_FILE).read_bytes()).placed(str(path))
    if code:
        raise ModelError(
            "the TFLite runtime crashes when it loads or runs the file, so the file is damaged",
            where=str(path),
            bound="a file that the runtime of TensorFlow Lite runs on random inputs",
            measured=f"{how_it_ended(code)}, {path.stat().st_size:,} bytes",
            remedy="copy or convert it again, and compare its sha256",
        )


class _Loading(ForkedProcess):
    def __init__(self, path: Path, folder: Path) -> None:
        self._path, self._folder = path, folder

    def run(self) -> int:
        end_with_parent()
        release_server()
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        from components.model.tflite_runtime import TFLiteModel

        try:
            TFLiteModel(self._path.read_bytes())
        except EdgemillError as error:
            (self._folder / _ERROR_FILE).write_bytes(pickle.dumps(error))
        except Exception as error:
            refusal = ModelError(
                f"the TFLite file cannot be run: {summary_line(error)}",
                bound="a file that the runtime of TensorFlow Lite runs on random inputs",
                measured=type(error).__name__,
                remedy="copy or convert it again, and compare its sha256",
            )
            (self._folder / _ERROR_FILE).write_bytes(pickle.dumps(refusal))
        return 0
