"""The errors a user can meet. Each class says whose fault it is; each message says what to do.

The tree is shallow on purpose: callers distinguish by class only where they act differently (exit codes, retries).
"""

from __future__ import annotations

import re

# What TensorFlow wraps around its messages: nodes, operators, the name that no example has.
_WRAPPING = re.compile(r"\{\{.*?\}\} ?|Name: <unknown>, |^\(0\) [A-Z_]+: +|\s*\[Op:.*$")


class EdgemillError(Exception):
    """Base of all errors that Edgemill raises on purpose.

    Args:
        what: What is wrong, one sentence without a full stop.
        where: The field, file or layer it is wrong at.
        bound: What would have been right.
        measured: What was found.
        remedy: What the user can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        remedy: str,
        where: str | None = None,
        bound: object = None,
        measured: object = None,
    ) -> None:
        self.what, self.where, self.bound, self.measured, self.remedy = what, where, bound, measured, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        facts = [
            f"{name}: {value}"
            for name, value in (("expected", self.bound), ("found", self.measured))
            if value is not None
        ]
        detail = f" ({'; '.join(facts)})" if facts else ""
        return f"{place}{self.what}{detail}. Remedy: {self.remedy}"

    def placed(self, where: str) -> EdgemillError:
        """The same error, told to be in `where`: a file, a recipe."""
        place = f"{where}: {self.where}" if self.where else where
        return type(self)(self.what, where=place, bound=self.bound, measured=self.measured, remedy=self.remedy)

    def __reduce__(self) -> tuple[object, ...]:
        # Beam and multiprocessing pickle errors; keyword-only arguments need telling how.
        return _rebuild, (type(self), self.what, self.where, self.bound, self.measured, self.remedy)


def _rebuild(
    kind: type[EdgemillError], what: str, where: str | None, bound: object, measured: object, remedy: str
) -> EdgemillError:
    return kind(what, where=where, bound=bound, measured=measured, remedy=remedy)


class SpecError(EdgemillError):
    """The pipeline file, or something it names, is wrong. The user's to correct; nothing has run yet."""


class DataError(EdgemillError):
    """The examples are not what the pipeline file says they are. The user's to correct."""


class ModelError(EdgemillError):
    """The model cannot be used as the recipe asks. The user's to correct, in the task or in the recipe."""


class ConversionError(EdgemillError):
    """A recipe did not yield a usable file. The other candidates go on; the report shows this one's reason."""


class RegistryError(EdgemillError):
    """The registry could not be read or written. It is as it was before; the push can be repeated."""


class UnblessedError(EdgemillError):
    """A push was asked for bytes that no gate blessed. Never to be worked around: wire a gate before the push."""


class TamperedError(EdgemillError):
    """An artifact is not the one that was written. Nothing is made of it; it has to be produced again."""


class MetadataError(EdgemillError):
    """The metadata store could not be reached, or does not hold what was asked for."""


class StorageError(EdgemillError):
    """The pipeline root could not be read, written or removed from. What was begun can be ended by trying again."""


class ClusterError(EdgemillError):
    """A cluster could not be reached, or refused. What was submitted before stays; submitting again repeats nothing."""


class RunFailedError(EdgemillError):
    """A node of the run failed. The message names the node and its cause."""


def damaged(place: object, error: Exception) -> StorageError:
    """The error of a file of a run that is cut off or changed, so that it cannot be understood."""
    return StorageError(
        "this file of a run is damaged",
        where=str(place),
        bound="the file as the run wrote it",
        measured=str(error).splitlines()[-1].strip() if "Invalid JSON" not in str(error) else "no whole JSON",
        remedy="restore it, or remove the folder that holds it and run again",
    )


def summary_line(error: BaseException) -> str:
    """The telling part of another library's error in one line; its type's name if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Keras quotes a stack, or names the layer, before the message, and what the layer was called with behind it.
    lines = lines[: next((n for n, line in enumerate(lines) if line.startswith("Call arguments received by")), None)]
    # TensorFlow tells the Python stack first, then the message, then the node as [[{{node ...}}]].
    nodes = [index for index, line in enumerate(lines) if line.startswith("[[")]
    if nodes:
        telling = lines[nodes[0] - 1]
    elif len(lines) > 1 and lines[0].startswith("Exception encountered when calling "):
        telling = f"{lines[0].removesuffix('.')}: {lines[-1]}"
    else:
        telling = "" if not lines else lines[-1] if lines[0] == "in user code:" else lines[0]
    return _WRAPPING.sub("", telling) or type(error).__name__
