"""Errors on the terminal: our own in words and with an exit status, others with their stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from components.errors import ClusterError, EdgemillError, MetadataError, RegistryError, RunFailedError
from edgemill.exit_codes import ExitCode


@contextmanager
def told() -> Iterator[None]:
    """Print an EdgemillError without its stack and leave with its exit status."""
    try:
        yield
    except KeyboardInterrupt:
        print("edgemill: interrupted; run it again: what was done is taken from cache", file=sys.stderr)
        raise SystemExit(ExitCode.INTERRUPTED) from None
    except EdgemillError as error:
        print(f"edgemill: {error}", file=sys.stderr)
        outside = isinstance(error, ClusterError | MetadataError | RegistryError | RunFailedError)
        raise SystemExit(ExitCode.NODE_FAILED if outside else ExitCode.BAD_INPUT) from None
