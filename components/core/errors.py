"""The errors that users can see. The class says what is at fault, and the message says how to fix it.

The hierarchy is shallow because callers distinguish classes only where they act differently (exit codes, retries).
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Iterable

# Details that TensorFlow adds to its messages: nodes, operators, and the name of an unnamed example.
_WRAPPING = re.compile(r"\{\{.*?\}\} ?|Name: <unknown>, |^\(0\) [A-Z_]+: +|\s*\[Op:.*$")


# Python's representations of objects, with their addresses, and of paths that are bytes.
_OBJECT = re.compile(r"<(?:[\w.]+\.)?(\w+) object at 0x[0-9a-f]+>")
_BYTES_PATH = re.compile(r"(?<=file )b('[^']*')")


class EdgemillError(Exception):
    """Base class of the errors that Edgemill raises deliberately.

    Args:
        what: What is wrong, in one sentence without a period.
        where: The field, file, or layer with the error.
        bound: What was expected.
        measured: What was found.
        remedy: How the user can fix it.
    """

    def __init__(
        self, what: str, *, remedy: str, where: str | None = None, bound: object = None, measured: object = None
    ) -> None:
        self.what, self.where, self.bound, self.measured, self.remedy = what, where, bound, measured, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        named = {"expected": self.bound, "found": self.measured}
        facts = [f"{name}: {value}" for name, value in named.items() if value is not None]
        detail = f" ({'; '.join(facts)})" if facts else ""
        return f"{place}{self.what}{detail}. Remedy: {self.remedy}"

    def as_json(self) -> dict[str, object]:
        """The error as JSON: its class and its parts, null if absent; and `errors`, if it represents several."""
        parts = {"where": self.where, "expected": self.bound, "found": self.measured}
        found: dict[str, object] = {"kind": type(self).__name__, "what": self.what}
        found |= {name: None if part is None else str(part) for name, part in parts.items()}
        found["remedy"] = self.remedy
        if several := [one.as_json() for one in getattr(self, "errors", ())]:
            found["errors"] = several
        return found

    def placed(self, where: str) -> EdgemillError:
        """The same error with `where`, such as a file or a recipe, in front of its location."""
        place = f"{where}: {self.where}" if self.where else where
        return type(self)(self.what, where=place, bound=self.bound, measured=self.measured, remedy=self.remedy)

    def __reduce__(self) -> tuple[object, ...]:
        # Beam and multiprocessing pickle errors, and pickle doesn't pass keyword-only arguments by itself.
        rest = functools.partial(type(self), where=self.where, bound=self.bound, measured=self.measured)
        return functools.partial(rest, remedy=self.remedy), (self.what,)


class SpecError(EdgemillError):
    """The pipeline file, or something that it refers to, is wrong. The user must correct it. Nothing has run yet."""


class DataError(EdgemillError):
    """The examples don't match the pipeline file. The user must correct one of them."""


class ModelError(EdgemillError):
    """The model can't be used as the recipe requires. The user must correct the task or the recipe."""


class ConversionError(EdgemillError):
    """A recipe produced no usable file. The report shows the reason, and the run continues with the others."""


class RegistryError(EdgemillError):
    """The registry couldn't be read or written. It is unchanged, and the push can be repeated."""


class RegistryUnreachableError(RegistryError):
    """The registry can't be reached or refuses writes. The release stays in the run, and a later push finishes."""


class UnblessedError(EdgemillError):
    """A push received bytes that no gate blessed. Don't work around this error: put a gate before the push."""


class TamperedError(EdgemillError):
    """An artifact was changed after it was written. It isn't used and must be produced again."""


class MetadataError(EdgemillError):
    """The metadata store couldn't be reached, or doesn't contain what was requested."""


class UnknownRunError(MetadataError):
    """There is no run, pipeline, or metadata store where the command line says. The user must correct it."""


class StorageError(EdgemillError):
    """Reading, writing, or removing files under the pipeline root failed. Trying again completes the operation."""


class ClusterError(EdgemillError):
    """A cluster couldn't be reached or refused a request. Submitting again doesn't repeat earlier submissions."""


class RunFailedError(EdgemillError):
    """A node of the run failed, and the message has its name and the cause; or native code ended the process."""


def damaged(place: object, error: Exception) -> StorageError:
    """The error for a file of a run that can't be parsed because it was truncated or changed."""
    return StorageError(
        "this file from a run is damaged",
        where=str(place),
        bound="the file as the run wrote it",
        measured=str(error).splitlines()[-1].strip() if "Invalid JSON" not in str(error) else "invalid JSON",
        remedy="restore it, or remove its folder and run again",
    )


def tampered(kind: str, where: str, bound: str, measured: str) -> TamperedError:
    """The error for an artifact that was changed after it was written."""
    return TamperedError(
        f"this artifact ({kind}) is not the one that was written",
        where=where,
        bound=bound,
        measured=measured,
        remedy="find out what changed the artifact, delete its folder, and run again to recreate it",
    )


_SPACE = "free up space there, or choose another --root, then run again: finished work comes from the cache"
_PERMISSION = "give this user permission to read and write there, or choose another --root, then run again"
_FILES = "raise the limit on open files (`ulimit -n 4096`), then run again"
_REMEDIES = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "raise the file size limit (`ulimit -f unlimited`), or choose another file system",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "remount the file system as writable, or choose another --root, then run again",
    errno.EMFILE: _FILES,
    errno.ENFILE: "close programs that have many files open, or raise the system-wide limit (`fs.file-max`)",
    errno.EIO: "check the disk and the system log, then run again",
    errno.ENOMEM: "free up memory, or run on a machine with more memory",
    errno.ENAMETOOLONG: "choose a shorter --root, or shorter names in the pipeline file",
}
_OTHERWISE = "check the free space, the permissions, and the type of the file, then run again"


def system_error(error: OSError, where: str | None = None) -> StorageError:
    """The error for an operation that the operating system refused, at `where` if the error doesn't name a file."""
    return StorageError(
        f"the operating system refused an operation: {error.strerror or error}",
        where=os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else where,
        remedy=_REMEDIES.get(error.errno or 0, _OTHERWISE),
    )


def system_remedy(text: str) -> str:
    """How to fix an error of the operating system that TensorFlow or Beam quotes; empty for other messages."""
    return next((remedy for code, remedy in _REMEDIES.items() if os.strerror(code).lower() in text.lower()), "")


def summary_line(error: BaseException) -> str:
    """The informative part of another library's error in one line, or the name of its type if it has no message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Keras puts a stack trace or the layer's name before the message, and the arguments of the layer's call after it.
    lines = lines[: next((n for n, line in enumerate(lines) if line.startswith("Call arguments received by")), None)]
    # TensorFlow shows the Python stack first, then the message, then the node as [[{{node ...}}]].
    nodes = [index for index, line in enumerate(lines) if line.startswith("[[")]
    if nodes:
        message = lines[nodes[0] - 1]
    elif len(lines) > 1 and lines[0].startswith("Exception encountered when calling "):
        message = f"{lines[0].removesuffix('.')}: {lines[-1]}"
    else:
        message = "" if not lines else lines[-1] if lines[0] == "in user code:" else lines[0]
        # AutoGraph ends with the type, which callers put in front of the message.
        message = message.removeprefix(f"{type(error).__name__}: ")
    if isinstance(error, OSError) and error.strerror and error.filename:
        message = f"{error.strerror}: {error.filename}"
    message = _OBJECT.sub(r"a \1", _BYTES_PATH.sub(r"\1", _WRAPPING.sub("", message)))
    # The message continues. An ellipsis stays.
    return re.sub(r"(?<!\.)\.{1,2}$", "", message) or type(error).__name__


def one_of(choices: Iterable[str]) -> str:
    """The choices for an error's `bound`: `one of a, b`, or `a` if there is only one."""
    known = list(choices)
    return f"one of {', '.join(known)}" if len(known) > 1 else ", ".join(known)


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as `1 recipe` and `2 recipes`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def some_of(names: Iterable[str], most: int = 5) -> str:
    """The first names of a possibly long list, such as `a, b and 3 more`."""
    known = list(names)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")
