"""Reads the names of a Keras model's outputs, and its loss, without loading the model. Imports no TensorFlow."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgemill.project.found import Data, Options
from edgemill.project.lists import listed
from edgemill.project.several_outputs import unclear_labels
from edgemill.project.unclear import UnclearError

# A config is text about layers. Larger ones aren't read.
_MOST_BYTES = 64 << 20


def with_outputs_of(model: Path, options: Options, recognize: Callable[[Options], Data]) -> Data:
    """Recognize data. For a model with several outputs, the columns or arrays with their names are the labels.

    Args:
        model: The model.
        options: The user's options. A label is never overridden.
        recognize: Recognizes the data.

    Raises:
        UnclearError: It is not clear what the labels are, or something else.
        EdgemillError: What `recognize` raises.
    """
    outputs = () if options.label else output_names(model)
    found: Data | UnclearError
    try:
        found = recognize(options)
        names = (found.label, *found.labels, *found.columns, *found.unusable)
    except UnclearError as error:
        if error.option != "label" or not error.names or len(outputs) < 2:
            raise
        found, names = error, error.names
    if len(outputs) > 1 and {*outputs} <= {*names} - {*options.columns}:
        return recognize(options.model_copy(update={"label": listed(outputs)}))
    if isinstance(found, UnclearError):
        raise unclear_labels(names, outputs, found.measured) from found
    return found


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


def losses_of(model: Path, outputs: Sequence[str]) -> dict[str, str]:
    """Output -> the name of its loss in a `.keras` or `.h5` file; "" if it isn't recorded or can't be read."""
    try:
        loss: Any = _compile_config(model)["loss"]
    # Damaged files raise many kinds of errors. They are reported when the model is loaded.
    except Exception:
        loss = None
    if isinstance(loss, dict) and "class_name" not in loss:
        loss = [loss[name] for name in outputs] if {*outputs} == loss.keys() else list(loss.values())
    # Keras uses a single loss for all outputs.
    losses = loss if isinstance(loss, list) else [loss] * len(outputs)
    if len(losses) != len(outputs):
        return dict.fromkeys(outputs, "")
    return {name: _name_of(each) for name, each in zip(outputs, losses, strict=True)}


def _name_of(loss: Any) -> str:
    if isinstance(loss, dict):
        loss = loss.get("config" if loss.get("class_name") == "function" else "class_name")
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
