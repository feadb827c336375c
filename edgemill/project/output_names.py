"""Reads the names of a Keras model's outputs without loading the model. Imports no TensorFlow."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgemill.project.several_outputs import unclear_labels
from edgemill.project.unclear import UnclearError

Result = TypeVar("Result")
# A config is text about layers. Larger ones aren't read.
_MOST_BYTES = 64 << 20


def with_outputs_of(model: Path, recognize: Callable[[], Result]) -> Result:
    """Recognize data, and ask for a label of each output if it is not clear what the labels are.

    Args:
        model: The model.
        recognize: Recognizes the data.

    Raises:
        UnclearError: It is not clear what the labels are, or something else.
        EdgemillError: What `recognize` raises.
    """
    try:
        return recognize()
    except UnclearError as error:
        outputs = output_names(model) if error.option == "label" and error.names else ()
        if len(outputs) < 2:
            raise
        raise unclear_labels(error.names, outputs, error.measured) from error


def output_names(model: Path) -> tuple[str, ...]:
    """The names of the outputs of a functional model in a `.keras` or `.h5` file; empty if they can't be read."""
    try:
        config = _config(model)["config"]
        found = config["output_layers"]
    # Damaged files raise many kinds of errors. They are reported when the model is loaded.
    except Exception:
        return ()
    if isinstance(found, dict):
        return tuple(found)
    several = isinstance(found, list) and all(isinstance(each, list) for each in found)
    return tuple(str(each[0]) for each in found) if several else ()


def _config(model: Path) -> dict[str, dict[str, list[list[object]] | dict[str, object]]]:
    if zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as archive, archive.open("config.json") as member:
            return _parsed(member.read(_MOST_BYTES))
    import h5py

    with h5py.File(model) as file:
        return _parsed(file.attrs["model_config"])


def _parsed(text: str | bytes) -> dict[str, dict[str, list[list[object]] | dict[str, object]]]:
    found: dict[str, dict[str, list[list[object]] | dict[str, object]]] = json.loads(text)
    return found
