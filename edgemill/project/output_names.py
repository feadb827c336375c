"""Reads the names of a Keras model's outputs, and its loss, without loading the model. Imports no TensorFlow."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

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


def loss_of(model: Path) -> str:
    """The name of the loss of a `.keras` or `.h5` file with one output; "" if it isn't recorded or can't be read."""
    try:
        loss: Any = _compile_config(model)["loss"]
        if isinstance(loss, dict) and "class_name" not in loss:
            [loss] = loss.values()
        if isinstance(loss, list):
            [loss] = loss
        if isinstance(loss, dict):
            loss = loss["config"] if loss["class_name"] == "function" else loss["class_name"]
    # Damaged files raise many kinds of errors. They are reported when the model is loaded.
    except Exception:
        return ""
    return loss if isinstance(loss, str) else ""


def _compile_config(model: Path) -> dict[str, Any]:
    if zipfile.is_zipfile(model):
        found: dict[str, Any] = _config(model)["compile_config"]
        return found
    import h5py

    with h5py.File(model) as file:
        return _parsed(file.attrs["training_config"])


def _config(model: Path) -> dict[str, Any]:
    if zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as archive, archive.open("config.json") as member:
            return _parsed(member.read(_MOST_BYTES))
    import h5py

    with h5py.File(model) as file:
        return _parsed(file.attrs["model_config"])


def _parsed(text: str | bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found
