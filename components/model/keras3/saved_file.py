"""Reads `.keras` and `.h5` files of Keras 3. Imports neither Keras nor TensorFlow, and runs no code from the file."""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.core.errors import ModelError

if TYPE_CHECKING:
    import h5py
    import numpy.typing as npt

# Keras stores weights uncompressed, and compression saves little on them.
_MOST_EXPANSION = 200
_SMALL_BYTES = 64 << 20
WEIGHTS_MEMBER = "model.weights.h5"
_REMEDY = "copy it from its source, or save it again with `model.save('model.keras')`"


class StoredWeights(NamedTuple):
    """The weights of one layer or part of a layer.

    Attributes:
        layer: The name of the layer that had them; "" in files of early versions, which don't store it.
        arrays: The weights by name: their index in `.keras` files, the path of the variable in `.h5` files.
    """

    layer: str
    arrays: Mapping[str, h5py.Dataset]


class SavedKeras3(NamedTuple):
    """The content of a file.

    Attributes:
        version: The version of Keras that wrote it.
        config: Class and configuration of the model.
        weights: Path in the file -> weights. Paths in `.keras` files are like `layers/dense` and
            `layers/bidirectional/forward_layer/cell`; in `.h5` files, they are names of the model's layers.
        by_name: Whether the file identifies weights by the paths of variables, as `.h5` files do.
    """

    version: str
    config: dict[str, Any]
    weights: Mapping[str, StoredWeights]
    by_name: bool


def read_saved(path: Path) -> SavedKeras3:
    """Read a file that Keras 3 wrote. Arrays are read only when `values_of` is called.

    Raises:
        ModelError: The file is damaged, expands to far more than its size, or stores weights in a different way.
    """
    import h5py

    if not zipfile.is_zipfile(path):
        file = h5py.File(path, "r")
        config = json.loads(_text(file.attrs["model_config"]))
        return SavedKeras3(_text(file.attrs["keras_version"]), config, dict(_legacy_weights(file, path)), by_name=True)
    refuse_zip_bomb(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if WEIGHTS_MEMBER not in names:
            raise ModelError(
                "the weights of this model are not stored in one HDF5 file",
                where=str(path),
                bound=WEIGHTS_MEMBER,
                measured=", ".join(name for name in names if "weights" in name) or "no weights",
                remedy="load it and save it again with `model.save('model.keras')`",
            )
        version = str(json.loads(archive.read("metadata.json"))["keras_version"])
        config = json.loads(archive.read("config.json"))
        file = h5py.File(io.BytesIO(archive.read(WEIGHTS_MEMBER)), "r")
    return SavedKeras3(version, config, dict(_weights(file, path)), by_name=False)


def refuse_zip_bomb(path: Path) -> None:
    """Refuse an archive whose content is far larger than the archive, before anything is decompressed.

    Raises:
        ModelError: Its content is far larger.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > max(_SMALL_BYTES, _MOST_EXPANSION * member.compress_size):
                raise ModelError(
                    "the model file is a decompression bomb",
                    where=f"{path}, {member.filename}",
                    bound=f"at most {_MOST_EXPANSION} times the stored bytes",
                    measured=f"{member.file_size:,} bytes from {member.compress_size:,}",
                    remedy=_REMEDY,
                )


def refuse_hdf5_bomb(path: Path) -> None:
    """Refuse a model whose weights expand to far more bytes than the file stores, before anything reads them.

    Args:
        path: A `.h5` file, or a `.keras` file that isn't a bomb itself.

    Raises:
        ModelError: The weights expand to far more bytes.
    """
    import h5py

    source: Path | io.BytesIO = path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if WEIGHTS_MEMBER not in archive.namelist():
                return
            source = io.BytesIO(archive.read(WEIGHTS_MEMBER))

    def visit(_: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset):
            _refuse_expansion(found, path)

    with h5py.File(source, "r") as file:
        file.visititems(visit)


def values_of(stored: h5py.Dataset) -> npt.NDArray[Any]:
    """Read the values of a weight."""
    import numpy as np

    # HDF5 has no bfloat16: Keras stores its bytes, and the type as an attribute.
    if stored.attrs.get("dtype") == "bfloat16":
        raw = np.asarray(stored).view(np.uint16).astype(np.uint32) << 16
        return raw.view(np.float32)
    return np.asarray(stored)


def _weights(file: h5py.File, path: Path) -> Iterator[tuple[str, StoredWeights]]:
    """Yield the path and the weights of each group `vars`, except the optimizer's."""
    import h5py

    pending: list[tuple[str, h5py.Group]] = [("", file)]
    while pending:
        place, group = pending.pop()
        for name in group:
            found = _local(group, name, path)
            inner = f"{place}/{name}".strip("/")
            if name == "vars" and isinstance(found, h5py.Group):
                arrays = {key: _sound(found, key, path) for key in sorted(found, key=_number)}
                if arrays:
                    yield place, StoredWeights(_text(found.attrs.get("name", "")), arrays)
            elif isinstance(found, h5py.Group) and inner != "optimizer":
                pending.append((inner, found))


def _legacy_weights(file: h5py.File, path: Path) -> Iterator[tuple[str, StoredWeights]]:
    group = _local(file, "model_weights", path)
    for layer in map(_text, _long_attribute(group, "layer_names")):
        inside = _local(group, layer, path)
        arrays = {name: _sound(inside, name, path) for name in map(_text, _long_attribute(inside, "weight_names"))}
        if arrays:
            yield layer, StoredWeights(layer, arrays)


def _long_attribute(group: h5py.Group, name: str) -> list[Any]:
    """Read a list that Keras splits over several attributes if it is long."""
    if name in group.attrs:
        return list(group.attrs[name])
    parts: list[Any] = []
    while f"{name}{len(parts)}" in group.attrs:
        parts.append(list(group.attrs[f"{name}{len(parts)}"]))
    return [item for part in parts for item in part]


def _sound(group: h5py.Group, name: str, path: Path) -> h5py.Dataset:
    """Return an array that is stored in this file, and that isn't much larger than its stored bytes."""
    import h5py

    for folder in name.split("/")[:-1]:
        group = _local(group, folder, path)
    found = _local(group, name.rpartition("/")[2], path)
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise _not_here(path, name)
    _refuse_expansion(found, path)
    return found


def _refuse_expansion(found: h5py.Dataset, path: Path) -> None:
    declared, stored = math.prod(found.shape) * found.dtype.itemsize, found.id.get_storage_size()
    if declared > max(_SMALL_BYTES, _MOST_EXPANSION * stored):
        raise ModelError(
            "the model file is a decompression bomb",
            where=f"{path}, {found.name}",
            bound=f"at most {_MOST_EXPANSION} times the stored bytes",
            measured=f"{declared:,} bytes from {stored:,}",
            remedy=_REMEDY,
        )


def _local(group: h5py.Group, name: str, path: Path) -> Any:
    """Return the entry of a group, unless it is a link, which could lead to a different file."""
    import h5py

    if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
        raise _not_here(path, name)
    return group[name]


def _not_here(path: Path, name: str) -> ModelError:
    return ModelError(
        "the model file refers to data outside it",
        where=f"{path}, {name}",
        bound="weights stored in the file",
        measured="a link, or no array",
        remedy=_REMEDY,
    )


def _number(key: str) -> tuple[int, str]:
    return (int(key), "") if re.fullmatch(r"\d+", key) else (1 << 31, key)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
