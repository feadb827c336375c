"""Errors on the terminal: our own in words and with an exit status, others with their stack."""

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
    """Print an EdgemillError without its stack and leave with its exit status."""
    try:
        with exits_reported(), process_kept():
            yield
    except KeyboardInterrupt as error:
        code = interruption_of(error)
        print(f"edgemill: {code.name.lower()}; run it again: what was done is taken from cache", file=sys.stderr)
        raise SystemExit(code) from None
    except Exception as error:
        if not isinstance(error, EdgemillError):
            # By its name: ML Metadata is not imported for help and validation.
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
    """The exit status that an error stands for; one that is not ours ends Python itself, with 1."""
    ours = isinstance(error, EdgemillError)
    outside = isinstance(
        error, ClusterError | MetadataError | RegistryError | RunFailedError | StorageError | TamperedError
    )
    return ExitCode.BAD_INPUT if ours and not outside else ExitCode.NODE_FAILED
