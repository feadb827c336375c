"""Prints errors: an EdgemillError as a message with its exit status, any other exception with its stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from components.core.errors import (
    ClusterError,
    EdgemillError,
    MetadataError,
    RegistryError,
    RunFailedError,
    StorageError,
    TamperedError,
)
from components.core.user_code import exits_reported, process_kept
from edgemill.exit_codes import ExitCode
from edgemill.termination import Terminated


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print an EdgemillError without its stack and exit with its status."""
    try:
        with exits_reported(), process_kept():
            yield
    except KeyboardInterrupt as error:
        code = interruption_of(error)
        print(f"edgemill: {code.name.lower()}; run it again: finished work comes from the cache", file=sys.stderr)
        raise SystemExit(code) from None
    except Exception as error:
        if not isinstance(error, EdgemillError):
            # Compare names, because help and validation do not import ML Metadata.
            if not type(error).__module__.startswith("ml_metadata"):
                raise
            from pipelines.runs.metadata_connection import store_error

            error = store_error(error, "--metadata")
        print(f"edgemill: {error}", file=sys.stderr)
        raise SystemExit(exit_code_of(error)) from None


def interruption_of(error: KeyboardInterrupt) -> ExitCode:
    """The exit status of Ctrl-C or of SIGTERM."""
    return ExitCode.TERMINATED if isinstance(error, Terminated) else ExitCode.INTERRUPTED


def exit_code_of(error: Exception) -> ExitCode:
    """The exit status of an error. Python itself exits with 1 after an exception that is not an EdgemillError."""
    ours = isinstance(error, EdgemillError)
    outside = isinstance(
        error, ClusterError | MetadataError | RegistryError | RunFailedError | StorageError | TamperedError
    )
    return ExitCode.BAD_INPUT if ours and not outside else ExitCode.NODE_FAILED
