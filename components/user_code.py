"""What leaves a user's Python as no `Exception`, such as `sys.exit`, as an error that says where it came from."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from components.errors import SpecError

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def raised_at(error: BaseException) -> str | None:
    """Module file, function and line of the innermost frame outside Python's libraries; None if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*_LIBRARIES, "<"))]
    return f"{own[-1].filename}, {own[-1].name}, line {own[-1].lineno}" if own else None


@contextmanager
def exits_told(where: str) -> Iterator[None]:
    """Raise a SpecError for an exit of user code: the process must not end as if all were done.

    Ctrl-C and SIGTERM pass: they are not of the user's code.

    Args:
        where: Which part of the pipeline file names the code.

    Raises:
        SpecError: The block raised what is no `Exception`.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise exit_error(error, where) from error


def exit_error(error: BaseException, where: str) -> SpecError:
    """The error that stands for an exit of user code."""
    said = f"{type(error).__name__}({error})"
    return SpecError(
        f"user code leaves with {said} instead of returning",
        where=where,
        bound="code that returns, or raises an Exception",
        measured=raised_at(error),
        remedy="remove the exit from that line, or keep it below `if __name__ == '__main__'`",
    )
