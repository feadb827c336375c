"""A float model that exists already: recognizing its format, and bringing it into the layout of a baseline."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, Literal

from components.baseline.lambdas import imports_inside, refuse_code
from components.core.errors import ModelError, summary_line
from components.core.files import is_file, is_folder
from components.facts.artifact_paths import SERVING_FOLDER
from components.model.keras_model import check_exportable, export, save_keras

ModelFormat = Literal["saved_model", "keras"]


def recognize(path: Path) -> ModelFormat:
    """The format of a model file or folder, told from its bytes; needs no TensorFlow.

    Raises:
        ModelError: Nothing is there, it is no format we know, or it was written by Keras 3.
    """
    if is_folder(path) and is_file(path / "saved_model.pb"):
        return "saved_model"
    if is_file(path) and (version := _version_of(path)) is not None:
        if version.startswith("2."):
            return "keras"
        raise ModelError(
            f"this file was written by Keras {version}, whose layers the optimization toolkit cannot read",
            where=str(path),
            bound="a file written by tf-keras (Keras 2), or a SavedModel",
            measured=f"Keras {version}",
            remedy="load it where it was made, call `model.export('folder')`, and name that folder instead",
        )
    measured, remedy = _something_else(path)
    raise ModelError(
        "there is no model that can be read here",
        where=str(path),
        bound="a SavedModel folder (with saved_model.pb), or a .keras or .h5 file",
        measured=measured,
        remedy=remedy,
    )


def _something_else(path: Path) -> tuple[str, str]:
    """What is there instead of a model that can be read, and what to do."""
    if is_folder(path):
        return "a folder", "correct baseline.path"
    if not is_file(path):
        return "nothing that is a file or a folder", "correct baseline.path"
    with path.open("rb") as file:
        head = file.read(8)
    if head[4:8] == b"TFL3":
        return (
            "a TFLite file, which is converted already",
            "name the model that it was converted from; a TFLite file cannot be converted once more",
        )
    if path.name == "saved_model.pb":
        return "the graph of a SavedModel without its folder", f"name the folder: {path.parent}"
    # Field 1 of a GraphDef is its first node; a SavedModel begins with its version instead.
    if (path.suffix == ".pb" and head[:1] == b"\n") or path.suffix == ".pbtxt":
        return (
            "a frozen graph (GraphDef), which names neither its inputs nor its outputs",
            "wrap it in a SavedModel: import it by `tf.compat.v1.wrap_function`, prune it to its inputs and outputs, "
            "and save that as the signature `serving_default`; or name the model that it was frozen from",
        )
    return "a file of another format", "correct baseline.path"


def has_keras_structure(path: Path) -> bool:
    """Whether a model that can be read holds layers, and not a mere graph; needs no TensorFlow."""
    return recognize(path) == "keras" or is_file(path / "keras_metadata.pb")


def import_model(path: Path, folder: Path, *, trust_code: bool = False) -> None:
    """Bring a pretrained model into the baseline layout at `folder`; `trust_code` as in the baseline's spec.

    Raises:
        ModelError: It cannot be loaded, converted or evaluated.
    """
    from components.model.saved_model import check_serving, load_serving

    if recognize(path) == "keras":
        model = load_keras(path, trust_code=trust_code)
        export(model, folder)
        save_keras(model, folder)
        return
    if not trust_code:
        refuse_code(path)
    _, signature = load_serving(path)
    check_serving(signature, str(path))
    shutil.copytree(path, folder / SERVING_FOLDER)
    if has_keras_structure(path):
        save_keras(load_keras(path, trust_code=trust_code), folder)


def load_keras(path: Path, *, trust_code: bool = False) -> Any:
    """Load a Keras file for inference.

    Raises:
        ModelError: It holds code that is not trusted, or it cannot be loaded, converted or evaluated.
    """
    import tensorflow as tf

    _refuse_damage(path)
    if not trust_code:
        refuse_code(path)
        _refuse_imports(path)
    try:
        model = tf.keras.models.load_model(path, compile=False, safe_mode=not trust_code)
    except Exception as error:
        raise ModelError(
            f"the model cannot be loaded: {type(error).__name__}: {summary_line(error)}",
            where=str(path),
            remedy="copy or save it again"
            if isinstance(error, OSError | KeyError | RuntimeError)
            else "register its custom layers with keras.utils.register_keras_serializable in the task's module; if it "
            "has none, copy or save it again",
        ) from error
    check_exportable(model, str(path))
    return model


def _refuse_imports(path: Path) -> None:
    """See that loading imports no Python but the task's, which has registered what the model may take from it.

    Raises:
        ModelError: It does.
    """
    import tensorflow as tf

    foreign = {
        f"{one.module}.{one.name}"
        for one in imports_inside(path)
        if tf.keras.utils.get_registered_object(one.registered_name) is None
    }
    if foreign:
        raise ModelError(
            "loading the model imports Python that the task does not register",
            where=str(path),
            bound="objects of Keras, or of the task's by keras.utils.register_keras_serializable",
            measured=", ".join(sorted(foreign)),
            remedy="register them in the task's module, or, if you trust whoever made the file, set "
            "baseline.trust_code",
        )


def _refuse_damage(path: Path) -> None:
    """See that an archive holds what was put in: Keras reads weights from it without looking at their checksums.

    Raises:
        ModelError: It does not.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            if (member := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"Bad CRC-32 for file {member!r}")
            if not {"model.weights.h5", "model.weights.npz"} & set(archive.namelist()):
                raise zipfile.BadZipFile("there is no model.weights.h5 in it")
    except Exception as error:
        raise _damaged(path, error) from error


def _version_of(path: Path) -> str | None:
    """As `_keras_version`; raises a ModelError if the file is Keras' by its first bytes but damaged."""
    try:
        return _keras_version(path)
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"the model file is damaged: {type(error).__name__}: {summary_line(error)}",
        where=str(path),
        bound="a complete .keras or .h5 file",
        measured=f"{path.stat().st_size:,} bytes",
        remedy="copy or save it again",
    )


def _keras_version(path: Path) -> str | None:
    """The version of Keras that wrote a file; None if the file is not Keras'."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "metadata.json" in archive.namelist():
                return str(json.loads(archive.read("metadata.json")).get("keras_version"))
        return None
    with path.open("rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            return None
    import h5py

    with h5py.File(path) as archive:
        version = archive.attrs.get("keras_version")
    return None if version is None else version.decode() if isinstance(version, bytes) else str(version)
