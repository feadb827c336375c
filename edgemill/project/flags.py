"""Options of the command line in errors that name fields of a pipeline file, before the file is written."""

from __future__ import annotations

import copy

from components.core.errors import EdgemillError

# What other code says to users of a pipeline file -> what `edgemill init` says. The first match comes first.
_OPTIONS = {
    "set `resample: true` in examples": "add --sample-rate with the rate that the model was trained on",
    " (examples.sample_rate)": "",
    "in examples.names": "with --label and --columns",
    "map it in examples.names": "name it with --label",
    "examples.max_unreadable": "--max-unreadable",
    "examples.classes": "--classes",
    "examples.label": "--label",
    "examples.function": "--data",
    "examples.names": "--data",
    "examples.path": "--data",
}


def with_options(error: EdgemillError) -> EdgemillError:
    """The same error for a user without a pipeline file: it names options, and says that files are those of --data."""
    found = copy.copy(error)
    found.what, found.remedy = _replaced(error.what), _replaced(error.remedy)
    found.bound = None if error.bound is None else _replaced(str(error.bound))
    found.where = _replaced(error.where) if error.where else "--data"
    if not found.where.startswith("--"):
        found.where = f"--data {found.where}"
    return found


def _replaced(text: str) -> str:
    for field, option in _OPTIONS.items():
        text = text.replace(field, option)
    return text
