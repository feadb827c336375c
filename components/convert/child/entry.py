"""The child process, which ends with its parent and writes its output to a file."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from components.core.child import LOG_FILE, end_with_parent
from components.core.user_code import process_kept
from components.upstream.fork_server import ForkedProcess, release_server


class Child(ForkedProcess):
    """Work that the fork server unpickles and runs in a new process. The parent enforces limits.

    Args:
        work: Takes the folder, and writes its results there. It must be picklable.
        folder: A temporary folder.
    """

    def __init__(self, work: Callable[[Path], None], folder: Path) -> None:
        self._work, self._folder = work, folder

    def run(self) -> int:
        """Do the work. Returns the exit code."""
        end_with_parent()
        release_server()
        # The parent removes the converter's temporary SavedModels with the folder, even if this process is killed.
        tempfile.tempdir = str(self._folder)
        descriptor = os.open(self._folder / LOG_FILE, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        try:
            with process_kept():
                self._work(self._folder)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            return 1
        return 0
