"""What ML Metadata does not report about a server that it cannot use: whether anything answers, and what."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Longer than any answer takes; without it the system would try for minutes.
_SECONDS = 10.0
_NATIVE = re.compile(r"PostgreSQL error: (.*?)(?=^[IWEF]\d{4} |\Z)", re.MULTILINE | re.DOTALL)


def why_unreachable(host: str, port: int) -> str:
    """Why nothing can be said to a server at all; empty if it takes connections."""
    try:
        with socket.create_connection((host, port), _SECONDS):
            return ""
    except socket.gaierror:
        return "its host is not known"
    except ConnectionRefusedError:
        return "nothing listens there"
    except TimeoutError:
        return f"it does not answer within {_SECONDS:.0f} s"
    except OSError as error:
        return str(error.strerror or error)


@contextmanager
def native_words() -> Iterator[Callable[[], str]]:
    """Keep from stderr what native code says, to be asked for: a server's answer is in no exception of ML Metadata."""
    with tempfile.TemporaryFile() as file:
        terminal = os.dup(2)
        os.dup2(file.fileno(), 2)

        def told() -> str:
            # Its place is shared with stderr: read without moving it.
            found = _NATIVE.findall(os.pread(file.fileno(), 1 << 16, 0).decode(errors="replace"))
            return " ".join(found[-1].split()) if found else ""

        try:
            yield told
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def libpq_quoted(value: str) -> str:
    """A value as a PostgreSQL connection string must have it: ML Metadata pastes it there as it is."""
    if re.fullmatch(r"[\w.@%+-]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
