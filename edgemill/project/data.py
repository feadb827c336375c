"""Recognizes the content of a folder or a file of examples. Doesn't import TensorFlow."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from components.core.errors import DataError, EdgemillError, counted, some_of
from components.core.files import described, is_file, is_folder
from components.ingest.listing import is_hidden
from edgemill.project.flags import with_options
from edgemill.project.found import (
    Data,
    Options,
    file_splits,
    pair_of,
)
from edgemill.project.kinds.columns import of_archive, of_folder, of_table
from edgemill.project.kinds.function import is_function, of_function
from edgemill.project.kinds.listed import SUFFIXES, damage, kind_of_paths, media_table
from edgemill.project.kinds.parquet import of_parquet
from edgemill.project.kinds.sounds import audio_fields
from edgemill.project.paths import beside

_FILES = {"images": "images", "audio": "WAV files"}
_OTHERWISE = (
    "correct the path; for other data, write a function that yields examples, or a pipeline file with "
    "`kind: tfrecord`: see docs/own-model.md"
)
# Suffix of files that are not read, or not one by one -> what to do with them.
_ADVICE = {
    **dict.fromkeys((*SUFFIXES["images"], *SUFFIXES["audio"]),
                    "specify the folder that contains the class folders, not one file"),
    **dict.fromkeys((".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wave"),
                    "convert the sounds to .wav files, for example with `ffmpeg -i sound.mp3 sound.wav`"),
    **dict.fromkeys((".avif", ".heic", ".jp2", ".svg"), "convert the images to PNG or JPEG files"),
    **dict.fromkeys((".7z", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip"), "unpack the file, and specify its content"),
    **dict.fromkeys((".arrow", ".feather", ".json", ".jsonl", ".ods", ".xls", ".xlsx"),
                    "save the table as CSV, with commas and a header line"),
    **dict.fromkeys((".h5", ".hdf5", ".mat", ".pkl", ".pickle", ".pt"),
                    "save the arrays as .npz, for example with `np.savez('data.npz', x=x, y=y)`"),
    **dict.fromkeys((".tab", ".tsv"), "rename the file to .csv; its columns can be separated by tabs"),
    ".npy": "specify the folder of the .npy files, or save input and label as one .npz file",
    ".tfrecord": "write a pipeline file with `kind: tfrecord` and a task",
}  # fmt: skip
_EXPECTED = (
    "a folder of class folders with images or WAV files, a CSV or Parquet table, a .npz file, a folder of tables or "
    ".npy files, or a function that yields examples: package.module:function"
)


def _of_one_table(
    recognize: Callable[[Path, dict[str, Any], Sequence[Path], Options], Data],
) -> Callable[[Path, Options], Data]:
    return lambda path, options: recognize(path.parent, {"kind": "hashed", "pattern": path.name}, [path], options)


_OF_FILE = {".parquet": _of_one_table(of_parquet), ".npz": of_archive}


def recognize_data(path: Path, options: Options) -> Data:
    """Recognize the content of a folder or a file.

    Raises:
        DataError: Its content can't be recognized, or requires a decision by the user.
    """
    try:
        return _recognized(path, options)
    except EdgemillError as error:
        raise with_options(error) from error


def _recognized(path: Path, options: Options) -> Data:
    if is_file(path) and path.suffix.lower() == ".csv":
        return _of_csv(path, options)
    if is_file(path) and (of_file := _OF_FILE.get(path.suffix.lower())) is not None:
        return of_file(path, options)
    if described(path) == "nothing":
        if is_function(str(path)):
            return of_function(str(path), options)
        raise DataError(
            "there is no such file or folder",
            where="--data",
            bound=_EXPECTED,
            measured=f"{path}, nothing",
            remedy=beside(path, (".csv", ".npz")),
        )
    if not is_folder(path):
        raise DataError(
            "the kind of these examples is unknown",
            where="--data",
            bound=_EXPECTED,
            measured=f"{path}, {described(path)}",
            remedy=_ADVICE.get(path.suffix.lower(), _OTHERWISE),
        )
    split_folders = _split_folders(path)
    suffixes = Counter(file.suffix.lower() for file in _files(path, deepest=3))
    media = sum(suffixes[suffix] for suffix in SUFFIXES["images"])
    if media or suffixes[".wav"]:
        tables = sorted(path.glob("*.csv"))
        kind: Literal["images", "audio"] = "images" if media >= suffixes[".wav"] else "audio"
        if not tables:
            return _class_folders(path, split_folders, kind, options)
        try:
            return media_table(path, tables, kind, options)
        except DataError as error:
            # The table can be about something other than the files.
            try:
                return _class_folders(path, split_folders, kind, options)
            except DataError:
                raise error from None
    if suffixes[".csv"]:
        files = sorted(path.glob("*.csv"))
        return of_table(path, file_splits(files, "*.csv"), files, options)
    if suffixes[".parquet"]:
        files = sorted(path.glob("*.parquet"))
        return of_parquet(path, file_splits(files, "*.parquet"), files, options)
    if suffixes[".npy"] or suffixes[".npz"]:
        return of_folder(path, options)
    raise DataError(
        "the folder contains no examples of a known kind",
        where="--data",
        bound="class folders with images or WAV files, CSV or Parquet tables, or .npy files",
        measured=f"{path}: {some_of(f'{count} {suffix}' for suffix, count in suffixes.most_common()) or 'no files'}",
        remedy=next((_ADVICE[suffix] for suffix, _ in suffixes.most_common() if suffix in _ADVICE), _OTHERWISE),
    )


def _files(folder: Path, deepest: int) -> list[Path]:
    patterns = ["/".join("*" * depth) for depth in range(1, deepest + 1)]
    return [file for pattern in patterns for file in folder.glob(pattern)
            if is_file(file) and not is_hidden(file)]  # fmt: skip


def _split_folders(path: Path) -> dict[str, str]:
    """Split name -> folder, if the folder has one for training and one for evaluation."""
    folders = {each.name.lower(): each.name for each in path.iterdir() if is_folder(each)}
    return pair_of(folders)


def _class_folders(
    path: Path, split_folders: dict[str, str], kind: Literal["images", "audio"], options: Options
) -> Data:
    depth = "*/*/*" if split_folders else "*/*"
    found = [file for file in sorted(path.glob(depth)) if is_file(file) and not is_hidden(file)]
    wanted = [file for file in found if file.suffix.lower() in SUFFIXES[kind]]
    classes = Counter(file.parent.name for file in wanted)
    if not classes and (deeper := _deeper(path, kind)):
        raise DataError(
            "the class folders are one level deeper",
            where="--data",
            bound="a folder of class folders, or one with folders such as train and test that contain them",
            measured=f"{path}: {some_of(f'{name}/ ({count})' for name, count in deeper.items())}",
            remedy=f"specify the folder above the classes: --data {shlex.quote(str(path / next(iter(deeper))))}"
            if len(deeper) == 1
            else "choose one of these folders, or rename two of them to train and test",
        )
    if not classes and split_folders:
        counts = Counter(file.parent.name for file in path.glob("*/*") if file.suffix.lower() in SUFFIXES[kind])
        held = some_of(f"{name}/ ({counted(counts[name], 'file')})" for name in split_folders.values())
        raise DataError(
            "the folders of the splits have no class folders",
            where="--data",
            bound=f"one folder for each class in {' and in '.join(split_folders.values())}",
            measured=f"{path}: {held}",
            remedy="put the files of each class into a folder with its name, or add a CSV table with the columns path "
            "and label for each split",
        )
    if len(classes) < 2:
        flat = [file for file in path.glob("*") if file.suffix.lower() in SUFFIXES[kind]]
        held = some_of(f"{name}/ ({counted(count, 'file')})" for name, count in classes.items())
        raise DataError(
            "the folder has no class folders" if not classes else "all files are in one class folder",
            where="--data",
            bound="one folder for each class, with at least two classes",
            measured=f"{path}: {held or counted(len(flat), 'file') + ', not in folders'}",
            remedy="put the files of each class into a folder with its name, or add a CSV table with the columns path "
            "and label",
        )
    suffixes = {file.suffix for file in wanted}
    last = f"*{wanted[0].suffix}" if len(suffixes) == 1 else "*"
    splits: dict[str, Any] = {"kind": "hashed", "pattern": f"*/{last}"}
    if split_folders:
        patterns = {split: f"{folder}/*/{last}" for split, folder in split_folders.items()}
        splits = {"kind": "declared", "patterns": patterns}
    fields = {**damage(options), **(audio_fields(wanted, options) if kind == "audio" else {})}
    empty = sorted(
        str(folder.relative_to(path))
        for folder in path.glob("*/*" if split_folders else "*")
        if is_folder(folder) and not is_hidden(folder) and not any(file.parent == folder for file in wanted)
    )
    return Data(
        kind=kind,
        folder=path,
        classes=tuple(sorted(classes)),
        splits=splits,
        fields=fields,
        count=len(wanted),
        warnings=(f"folders contain no {_FILES[kind]}: {some_of(empty, 10)}",) if empty else (),
    )


def _deeper(path: Path, kind: Literal["images", "audio"]) -> Counter[str]:
    """Folder -> number of its files in its own folders."""
    found = (file for file in sorted(path.glob("*/*/*")) if is_file(file) and file.suffix.lower() in SUFFIXES[kind])
    return Counter(file.parents[1].name for file in found)


def _of_csv(path: Path, options: Options) -> Data:
    """A CSV table of numbers, or of paths of images or sounds and their labels."""
    kind = kind_of_paths(path)
    if kind is None:
        return of_table(path.parent, {"kind": "hashed", "pattern": path.name}, [path], options)
    return media_table(path.parent, [path], kind, options)
