"""Detects the kind of a pretrained baseline. Only reads bytes: no TensorFlow, and no code from the file."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from components.baseline.protobuf import fields
from components.baseline.tflite import refuse_quantized
from components.core.errors import ModelError, summary_line
from components.core.files import described, is_file, is_folder
from components.facts.artifact_paths import SIGNATURE
from components.model.keras3.configs import EXPORT
from components.model.keras3.saved_file import refuse_zip_bomb

SourceKind = Literal["keras", "keras3", "layered", "subclassed", "graph", "tflite"]
SourceFormat = Literal["keras", "saved_model", "tflite"]


class Source(NamedTuple):
    """A kind of pretrained baseline, which determines checks, import, and messages.

    Attributes:
        kind: Identifies the kind.
        name: What to call it in messages.
        format: How it is stored. Only a SavedModel has signatures to choose from.
        trains: Whether it has Keras layers that steps can train and recurrent layers that can be lowered.
        lacks: What is missing for steps; "" if nothing is.
    """

    kind: SourceKind
    name: str
    format: SourceFormat
    trains: bool
    lacks: str = ""


_SOURCES = (
    Source("keras", "a file of tf-keras", "keras", trains=True),
    Source("keras3", "a file of Keras 3", "keras", trains=True),
    Source("layered", "a SavedModel with Keras layers", "saved_model", trains=True),
    Source(
        "subclassed",
        "a SavedModel of a subclassed Keras model",
        "saved_model",
        trains=False,
        lacks="a graph of layers: a subclassed model only has code",
    ),
    Source(
        "graph",
        "a SavedModel that is a graph without Keras layers",
        "saved_model",
        trains=False,
        lacks="a graph of layers",
    ),
    Source("tflite", "a float TFLite file", "tflite", trains=False, lacks="layers that compute gradients"),
)
SOURCES = {source.kind: source for source in _SOURCES}

# TensorFlow's name for the root object of a SavedModel -> the kind, if the configs of its layers are also there.
_ROOTS: dict[bytes, SourceKind] = {
    b"_tf_keras_network": "layered",
    b"_tf_keras_sequential": "layered",
    b"_tf_keras_model": "subclassed",
}
METADATA = "keras_metadata.pb"
_CORRECT = "correct baseline.path"
# A GraphDef begins with field 1, its first node, and a node with field 1, its name.
_FIRST_NODE = re.compile(rb"\n[\x80-\xff]{0,4}[\x00-\x7f]\n[\x80-\xff]?[\x00-\x7f][A-Za-z0-9.]")
_FROZEN = "a frozen graph (GraphDef), which does not declare its inputs and outputs"
_THAW = (
    "wrap it in a SavedModel: import it with `tf.compat.v1.wrap_function`, prune it to its inputs and outputs, "
    "and save the result as the signature `serving_default`; or specify the model that it was frozen from"
)
# Groups and attributes in HDF5 files of `save_weights`.
_OF_WEIGHTS = {"layer_names", "layers", "_layer_checkpoint_dependencies", "vars"}
# Numbers of fields: SavedModel.meta_graphs, MetaGraphDef.object_graph_def, SavedObjectGraph.nodes,
# SavedObject.user_object, and SavedUserObject.identifier and .metadata.
_META_GRAPHS, _OBJECTS, _NODES, _USER_OBJECT, _IDENTIFIER, _CONFIG = 2, 7, 1, 4, 1, 3


def recognize(path: Path, signature: str | None = None) -> Source:
    """Detect what a model file or folder is from its bytes.

    Args:
        path: The file or folder.
        signature: The signature that the pipeline file chooses; None for the model's own.

    Raises:
        ModelError: The path doesn't exist, the format is unknown, a Keras later than 3 wrote the file, the file is
            damaged, or a signature is given for a file without signatures.
    """
    source = SOURCES[_kind(path, signature)]
    if signature is not None and source.format != "saved_model":
        raise ModelError(
            f"{source.name} has no signatures to choose from",
            where=str(path),
            bound="a SavedModel, or no `baseline.signature`",
            measured=f"signature: {signature}",
            remedy="remove `signature` from `baseline`: the whole model is the baseline",
        )
    return source


def refuse_step(source: Source, step: str, path: Path) -> ModelError:
    """The error for a step of this kind on a baseline without layers to train."""
    return ModelError(
        f"the step {step} trains Keras layers, but the baseline is {source.name}",
        where=str(path),
        bound="a .keras or .h5 file, or a SavedModel that `model.save` of tf-keras wrote",
        measured=f"a baseline without {source.lacks}",
        remedy="use the Keras model as the baseline, wrap a subclassed one in a functional model (`image = "
        "Input(shape, name='image'); Model(image, model(image))`), or remove the recipe's steps",
    )


def layer_configs(folder: Path) -> Iterator[bytes]:
    """Yield the JSON configs of the Keras layers in a SavedModel, which TensorFlow before 2.5 kept in the graph.

    Raises:
        ValueError, IndexError: It is not a SavedModel.
    """
    if is_file(folder / METADATA):
        # SavedMetadata.nodes, SavedObject.metadata
        for node in fields((folder / METADATA).read_bytes(), 1):
            yield from (text for text in fields(node, 5) if text)
        return
    for node in _user_objects(folder):
        # For Python objects other than layers, the text there is different.
        if next(fields(node, _IDENTIFIER), b"").startswith(b"_tf_keras"):
            yield from (text for text in fields(node, _CONFIG) if text)


def _kind(path: Path, signature: str | None) -> SourceKind:
    if is_folder(path) and is_file(path / "saved_model.pb") and not _is_frozen(path / "saved_model.pb"):
        return _kind_of_saved_model(path, signature)
    if is_file(path):
        _refuse_incomplete(path)
    if is_file(path) and (version := _version_of(path)) is not None:
        if version.startswith(("2.", "3.")):
            return "keras" if version.startswith("2.") else "keras3"
        raise ModelError(
            f"this file was written by Keras {version}, whose format Edgemill doesn't know",
            where=str(path),
            bound="a file of Keras 2 or 3, or a SavedModel",
            measured=f"Keras {version}",
            remedy=EXPORT,
        )
    if is_file(path) and _begins_like_tflite(path):
        refuse_quantized(path)
        return "tflite"
    measured, remedy = _something_else(path)
    raise ModelError(
        "there is no readable model here",
        where=str(path),
        bound="a SavedModel folder (with saved_model.pb), a .keras or .h5 file, or a float .tflite file",
        measured=measured,
        remedy=remedy,
    )


def _kind_of_saved_model(folder: Path, signature: str | None) -> SourceKind:
    # Layers compute what `serving_default` does. Another signature can be any function.
    if signature not in (None, SIGNATURE):
        return "graph"
    try:
        root = next(_user_objects(folder), b"")
        kind = _ROOTS.get(next(fields(root, _IDENTIFIER), b""), "graph")
        return kind if any(layer_configs(folder)) else "graph"
    except (ValueError, IndexError) as error:
        raise ModelError(
            "the SavedModel cannot be loaded: saved_model.pb or keras_metadata.pb is not a protocol buffer",
            where=str(folder),
            measured=f"{(folder / 'saved_model.pb').stat().st_size:,} bytes in saved_model.pb",
            remedy="copy or save it again",
        ) from error


def _user_objects(folder: Path) -> Iterator[bytes]:
    """Yield the user objects in the object graph of a SavedModel, the root first."""
    for meta_graph in fields((folder / "saved_model.pb").read_bytes(), _META_GRAPHS):
        for objects in fields(meta_graph, _OBJECTS):
            for node in fields(objects, _NODES):
                yield from fields(node, _USER_OBJECT)


def _begins_like_tflite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3"


def _something_else(path: Path) -> tuple[str, str]:
    """Describe what is at a path instead of a readable model, and how to fix it."""
    found = described(path)
    if found == "a folder":
        graph = next((file for file in sorted(path.glob("*.pb")) if is_file(file) and _is_frozen(file)), None)
        return (f"{graph.name}, {_FROZEN}", _THAW) if graph else ("a folder without saved_model.pb", _CORRECT)
    if found == "nothing":
        return "no file or folder", _CORRECT
    if found != "a file":
        return f"{found}, which is not a regular file", _CORRECT
    if _is_frozen(path):
        return _FROZEN, _THAW
    if path.name == "saved_model.pb":
        return "the graph of a SavedModel without its folder", f"specify the folder: {path.parent}"
    return "a file in a different format", _CORRECT


def _is_frozen(file: Path) -> bool:
    """Whether a file is a GraphDef. A SavedModel begins with its version."""
    if file.suffix == ".pbtxt":
        return True
    with file.open("rb") as content:
        return file.suffix == ".pb" and _FIRST_NODE.match(content.read(16)) is not None


def _refuse_incomplete(path: Path) -> None:
    """Raise a ModelError for an empty file, and for a zip archive that lacks its end."""
    size = path.stat().st_size
    if size == 0:
        raise ModelError(
            "the model file is empty",
            where=str(path),
            bound="a complete .keras, .h5, or .tflite file",
            measured="0 bytes",
            remedy="copy or save it again",
        )
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    # An archive's list of files is at its end.
    if zipped and not zipfile.is_zipfile(path):
        raise ModelError(
            "the model file is damaged or incomplete: the zip archive lacks its end",
            where=str(path),
            bound="a complete .keras file",
            measured=f"{size:,} bytes",
            remedy="copy or save it again",
        )


def _version_of(path: Path) -> str | None:
    """Like `_keras_version`, but raise a ModelError if the file starts like a Keras file and is damaged."""
    try:
        return _keras_version(path)
    except ModelError:
        raise
    except Exception as error:
        raise damaged_file(path, error) from error


def damaged_file(path: Path, error: Exception) -> ModelError:
    """The error for a Keras file that cannot be read."""
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
        if "model_config" not in archive.attrs and (_OF_WEIGHTS & {*archive.keys(), *archive.attrs.keys()}):
            raise ModelError(
                "the file contains only weights, without the model's layers",
                where=str(path),
                bound="a whole model, as `model.save` writes it",
                measured="a file of `save_weights`",
                remedy="build the model, load these weights, and save the whole model: `model.save('model.keras')`",
            )
    return None if version is None else version.decode() if isinstance(version, bytes) else str(version)
