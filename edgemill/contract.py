"""The contract of all commands: --json, --quiet, and one JSON document on standard output, even for errors."""

from __future__ import annotations

import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, TextIO, get_type_hints

import typer
from pydantic import BaseModel
from typer.core import TyperGroup

from edgemill.exit_codes import ExitCode, exit_on_error
from edgemill.options import AsJson, Quiet
from pipelines.file.redaction import hide

_SHARED = {"as_json": AsJson, "quiet": Quiet}


class Document:
    """The JSON document of a command, printed when the command ends: its result, its error, or both."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._value: Any = None
        self._secrets: tuple[str, ...] = ()
        self._ended = False

    def hold(self, value: Any, secrets: tuple[str, ...], *, now: bool) -> None:
        """Set the result, and print it at once on one line if the command then continues."""
        self._value, self._secrets = value, secrets
        if now:
            self._print(value, indent=None)

    def end(self) -> None:
        """Print the result."""
        self._print(self._value)

    def fail(self, error: Mapping[str, object], code: ExitCode) -> None:
        """Print the result so far, and the error. A full disk prevents both."""
        found = self._value if isinstance(self._value, dict) else {}
        with suppress(OSError):
            self._print({**found, "error": _plain(error), "exit_status": int(code), "exit_meaning": code.name})

    def _print(self, value: Any, indent: int | None = 2) -> None:
        if not self._ended and value is not None:
            self._ended = True
            print(_text(value, self._secrets, indent), file=self._stream, flush=True)


_OPEN: ContextVar[Document | None] = ContextVar("document", default=None)


def print_json(value: object, *, secrets: tuple[str, ...] = (), now: bool = False) -> None:
    """Make a value the JSON document of the running command.

    Args:
        value: A pydantic model or a JSON value, which may contain models, paths, and floats that are not finite (null).
        secrets: Replaced with asterisks.
        now: Whether to print it at once, because the command then waits. It is one line, which a script can read while
            the command continues. By default, it is printed at the end.
    """
    document = _OPEN.get()
    if document is None:
        typer.echo(_text(_plain(value), secrets))
    else:
        document.hold(_plain(value), secrets, now=now)


def contracted(function: Callable[..., int | None]) -> Callable[..., None]:
    """Give a command --json and --quiet, errors without a stack, and the exit status that it returns.

    With --json, the only thing on standard output is one JSON document. With --quiet, only errors are printed, and the
    JSON document, if requested. The function gets `as_json` and `quiet` only if it has such parameters.
    """
    signature = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    own = [each.replace(annotation=hints[each.name]) for each in signature.parameters.values()]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in _SHARED.items()
        if name not in signature.parameters
    ]

    @wraps(function)
    def command(**values: Any) -> None:
        with keeping(as_json=values["as_json"], quiet=values["quiet"]):
            code = function(**{name: values[name] for name in signature.parameters})
        if code:
            raise SystemExit(code)

    command.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in (*own, *shared)}
    return command


@contextmanager
def keeping(*, as_json: bool, quiet: bool) -> Iterator[None]:
    """Keep the contract of a command within this context."""
    with _output(as_json=as_json, silent=as_json or quiet) as stream:
        document = Document(stream) if as_json else None
        token = _OPEN.set(document)
        try:
            with exit_on_error(document.fail if document else None):
                yield
                if document:
                    document.end()
        finally:
            _OPEN.reset(token)


@contextmanager
def _output(*, as_json: bool, silent: bool) -> Iterator[TextIO]:
    """If `silent`, discard output. With JSON, redirect the output of native code to standard error.

    Yields:
        The stream for the document.
    """
    stream = sys.stdout
    if not silent:
        yield stream
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        if not as_json or _descriptor_of(stream) != 1:
            yield stream or nowhere
            return
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            with os.fdopen(kept, "w", closefd=False) as out:
                yield out
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _descriptor_of(stream: TextIO | None) -> int | None:
    try:
        return stream.fileno() if stream is not None else None
    except (OSError, ValueError):
        return None


def _text(value: Any, secrets: tuple[str, ...], indent: int | None = 2) -> str:
    return hide(json.dumps(value, indent=indent, allow_nan=False), secrets)


def _plain(value: Any) -> Any:
    """Convert a value to a JSON value."""
    match value:
        case BaseModel():
            return _plain(json.loads(value.model_dump_json()))
        case str():
            # JSON can't contain file names that are not UTF-8.
            return value.encode(errors="backslashreplace").decode()
        case Path():
            return _plain(str(value))
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {_plain(name): _plain(one) for name, one in value.items()}
        case Sequence():
            return [_plain(one) for one in value]
        case _:
            return value


class Commands(TyperGroup):
    """The commands. An invalid command line is also an error with a JSON document."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **named: Any) -> Any:
        """See the base class."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            return super().main(words, *rest, **named)
        except SystemExit as end:
            # The base class has already printed it on standard error.
            if "--json" in words and isinstance(end.__context__, typer.TyperException):
                Document(sys.stdout).fail(_usage_error(end.__context__), ExitCode.BAD_INPUT)
            raise


def _usage_error(error: Any) -> dict[str, object]:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "edgemill"
    what = error.format_message() if hasattr(error, "format_message") else str(error)
    return {
        "kind": type(error).__name__,
        "what": what.rstrip("."),
        "where": command,
        "expected": None,
        "found": None,
        "remedy": f"see `{command} --help`",
    }
