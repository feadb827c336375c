"""Python's multiprocessing: a separate fork server, and the processes that it forks.

The public `multiprocessing` has one fork server for all callers, and its children import the caller's main module
again. A separate server needs the private classes.
"""

from __future__ import annotations

import multiprocessing.forkserver
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.forkserver import ForkServer, read_signed
from typing import Any


class ForkedProcess:
    """Work that a fork server unpickles and runs in a new process, instead of a `multiprocessing.Process`."""

    def run(self) -> int:
        """Do the work in the new process, and return its exit code."""
        raise NotImplementedError

    def _bootstrap(self, parent_sentinel: Any) -> int:  # noqa: ARG002 - the fork server passes it
        return self.run()


def fork_server(preload: Sequence[str]) -> ForkServer:
    """A fork server that imports modules before it forks. It starts when the first process is forked."""
    server = ForkServer()
    server.set_forkserver_preload(list(preload))
    return server


@contextmanager
def forked(server: ForkServer, preparation: dict[str, Any], process: ForkedProcess) -> Iterator[tuple[int, int]]:
    """Fork a process. Leaving the context doesn't end it.

    Args:
        server: From `fork_server`.
        preparation: As for `multiprocessing.spawn.prepare`: `sys_path` and `dir` of the new process.
        process: What to run.

    Yields:
        The id of the process, and a descriptor that becomes readable when it ends.

    Raises:
        EOFError, OSError: The fork server doesn't respond.
    """
    sentinel, data = server.connect_to_new_process([])
    try:
        with os.fdopen(data, "wb") as pipe:
            pickle.dump(preparation, pipe)
            pickle.dump(process, pipe)
        yield read_signed(sentinel), sentinel
    finally:
        os.close(sentinel)


def exit_code(sentinel: int) -> int:
    """The exit code of a finished process, from its descriptor; negative if a signal ended it.

    Raises:
        EOFError, OSError: The fork server ended before it could report the exit code.
    """
    return read_signed(sentinel)


def release_server() -> None:
    """In a forked process, close the pipe that keeps its fork server alive.

    The fork server ends when no process has this pipe open. Multiprocessing passes the pipe to children so that
    they can start more processes. An open pipe in a child would keep the server and the child alive after its parent
    ends.
    """
    server: Any = multiprocessing.forkserver._forkserver
    os.close(server._forkserver_alive_fd)
    server._forkserver_alive_fd = None
