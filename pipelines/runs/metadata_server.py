"""Finds what ML Metadata doesn't report about an unusable server: whether anything answers, and the answer."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Longer than any server takes to answer. Without a limit, the system would try for minutes.
_SECONDS = 10.0
_NATIVE = re.compile(r"PostgreSQL error: (.*?)(?=^[IWEF]\d{4} |\Z)", re.MULTILINE | re.DOTALL)


def why_unreachable(host: str, port: int) -> str:
    """Return why a server can't be reached; empty if it accepts connections."""
    try:
        with socket.create_connection((host, port), _SECONDS):
            return ""
    except socket.gaierror:
        return "its host is unknown"
    except ConnectionRefusedError:
        return "nothing listens there"
    except TimeoutError:
        return f"it does not answer within {_SECONDS:.0f} s"
    except OSError as error:
        return str(error.strerror or error)


@contextmanager
def native_words() -> Iterator[Callable[[], str]]:
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


def libpq_quoted(value: str) -> str:
    """Quote a value for a PostgreSQL connection string, into which ML Metadata inserts it unchanged."""
    if re.fullmatch(r"[\w.@%+-]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
