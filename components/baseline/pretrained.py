"""Import of an existing float model: detects its format and converts it to the layout of a baseline."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from components.baseline.lambdas import imports_inside, refuse_code
from components.core.errors import ModelError, summary_line
from components.core.files import is_file, is_folder
from components.facts.artifact_paths import REBUILT_FILE, SERVING_FOLDER
from components.model.keras3.facts import RebuiltFacts
from components.model.keras3.refusals import EXPORT
from components.model.keras3.saved_file import refuse_zip_bomb
from components.model.keras_model import check_exportable, export, save_keras

ModelFormat = Literal["saved_model", "keras", "keras3"]


def recognize(path: Path) -> ModelFormat:
    """Detect the format of a model file or folder from its bytes, without TensorFlow.

    Raises:
        ModelError: The path doesn't exist, the format is unknown, or a Keras later than 3 wrote the file.
    """
    if is_folder(path) and is_file(path / "saved_model.pb"):
        return "saved_model"
    if is_file(path) and (version := _version_of(path)) is not None:
        if version.startswith(("2.", "3.")):
            return "keras" if version.startswith("2.") else "keras3"
        raise ModelError(
            f"this file was written by Keras {version}, whose format is not known",
            where=str(path),
            bound="a file of Keras 2 or 3, or a SavedModel",
            measured=f"Keras {version}",
            remedy=EXPORT,
        )
    measured, remedy = _something_else(path)
    raise ModelError(
        "there is no readable model here",
        where=str(path),
        bound="a SavedModel folder (with saved_model.pb), or a .keras or .h5 file",
        measured=measured,
        remedy=remedy,
    )


def _something_else(path: Path) -> tuple[str, str]:
    """Describe what a path holds instead of a readable model, and how to fix it."""
    if is_folder(path):
        return "a folder", "correct baseline.path"
    if not is_file(path):
        return "no file or folder", "correct baseline.path"
    with path.open("rb") as file:
        head = file.read(8)
    if head[4:8] == b"TFL3":
        return (
            "a TFLite file, which is already converted",
            "name the model that it was converted from; a TFLite file cannot be converted again",
        )
    if path.name == "saved_model.pb":
        return "the graph of a SavedModel without its folder", f"name the folder: {path.parent}"
    # A GraphDef begins with field 1, its first node. A SavedModel begins with its version.
    if (path.suffix == ".pb" and head[:1] == b"\n") or path.suffix == ".pbtxt":
        return (
            "a frozen graph (GraphDef), which does not declare its inputs and outputs",
            "wrap it in a SavedModel: import it with `tf.compat.v1.wrap_function`, prune it to its inputs and outputs, "
            "and save the result as the signature `serving_default`; or name the model that it was frozen from",
        )
    return "a file in another format", "correct baseline.path"


def has_keras_structure(path: Path) -> bool:
    """Return whether a readable model has Keras layers rather than only a graph, without TensorFlow."""
    return recognize(path) in ("keras", "keras3") or is_file(path / "keras_metadata.pb")


def import_model(path: Path, folder: Path, *, trust_code: bool = False) -> None:
    """Import a pretrained model into `folder` in the baseline layout. `trust_code` is as in the baseline's spec.

    Raises:
        ModelError: The model cannot be loaded, converted, or evaluated.
    """
    from components.model.saved_model import check_serving, load_serving

    if recognize(path) in ("keras", "keras3"):
        model, facts = _load(path, trust_code=trust_code)
        export(model, folder)
        save_keras(model, folder)
        if facts is not None:
            (folder / REBUILT_FILE).write_text(facts.model_dump_json(indent=2))
        return
    if not trust_code:
        refuse_code(path)
    _, signature = load_serving(path)
    check_serving(signature, str(path))
    shutil.copytree(path, folder / SERVING_FOLDER)
    if has_keras_structure(path):
        save_keras(load_keras(path, trust_code=trust_code), folder)


def load_keras(path: Path, inputs: Any = None, *, trust_code: bool = False) -> Any:
    """Load a Keras file for inference. A model of Keras 3 is rebuilt in tf-keras, which takes a child process.

    Args:
        path: The file, or a SavedModel with Keras layers.
        inputs: A few decoded inputs, which a rebuilt model is checked on, in addition to random ones.
        trust_code: As in the baseline's spec.

    Raises:
        ModelError: The model contains untrusted code, or it cannot be loaded, converted, or evaluated.
    """
    return _load(path, inputs, trust_code=trust_code)[0]


def _load(path: Path, inputs: Any = None, *, trust_code: bool) -> tuple[Any, RebuiltFacts | None]:
    """Load a Keras file, with what was measured if it was rebuilt."""
    kind = recognize(path)
    _refuse_damage(path)
    if kind != "keras3":
        return _load_keras2(path, trust_code), None
    from components.model.keras3.load import prove_file, rebuild_file

    if not trust_code:
        refuse_code(path)
    rebuilt = rebuild_file(path)
    check_exportable(rebuilt.model, str(path))
    if not trust_code:
        _refuse_imports(path)
    return rebuilt.model, prove_file(path, rebuilt, inputs, trust_code=trust_code)


def _load_keras2(path: Path, trust_code: bool) -> Any:
    import tensorflow as tf

    if not trust_code:
        refuse_code(path)
        _refuse_imports(path)
    try:
        with _named_for_keras(path) as named:
            model = tf.keras.models.load_model(named, compile=False, safe_mode=not trust_code)
    except Exception as error:
        raise ModelError(
            f"the model cannot be loaded: {type(error).__name__}: {summary_line(error)}",
            where=str(path),
            remedy="copy or save it again"
            if isinstance(error, OSError | KeyError | RuntimeError)
            else "register its custom layers with keras.utils.register_keras_serializable in the task's module; if the "
            "model has none, copy or save it again",
        ) from error
    check_exportable(model, str(path))
    return model


@contextmanager
def _named_for_keras(path: Path) -> Iterator[Path]:
    """A path by which Keras recognizes its archives, which it does by the suffix.

    Data versioning tools and caches keep a file under a name without a suffix, and link to it.
    """
    if path.suffix == ".keras" or not zipfile.is_zipfile(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder, "model.keras")
        named.symlink_to(path.absolute())
        yield named


def _refuse_imports(path: Path) -> None:
    """Refuse a model whose loading imports Python objects that the task hasn't registered.

    Raises:
        ModelError: The model imports such objects.
    """
    import tensorflow as tf

    foreign = {
        f"{one.module}.{one.name}"
        for one in imports_inside(path)
        if tf.keras.utils.get_registered_object(one.registered_name) is None
    }
    if foreign:
        raise ModelError(
            "loading the model imports Python objects that the task does not register",
            where=str(path),
            bound="objects of Keras, or objects that the task registers with keras.utils.register_keras_serializable",
            measured=", ".join(sorted(foreign)),
            remedy="register them in the task's module, or set baseline.trust_code if you trust the author",
        )


def _refuse_damage(path: Path) -> None:
    """Verify an archive's checksums, which Keras doesn't check when it reads weights.

    Raises:
        ModelError: The archive is damaged.
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
    """Like `_keras_version`, but raise a ModelError if the file starts like a Keras file and is damaged."""
    try:
        return _keras_version(path)
    except ModelError:
        raise
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
    """Return the version of Keras that wrote a file, or None if it isn't a Keras file."""
    if zipfile.is_zipfile(path):
        refuse_zip_bomb(path)
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
