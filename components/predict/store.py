"""Stored predictions: Arrow files with one row for each example, which pandas and `pyarrow.dataset` can also read.

The column `example` has the example's digest. Each output has its own column, whose values [N, ...] are flattened
to one list for each example. If outputs would take more bytes than allowed, only the class with the highest score is
stored, which some metrics read. A file contains consecutive examples of one file of the split, in the same order:
`00002-000000008000.arrow` begins with example 8,000 of the third file.
"""

from __future__ import annotations

import copy
import functools
import json
import logging
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.core.errors import SpecError, TamperedError
from components.core.files import write_atomically
from components.predict.columns import (
    EXAMPLE,
    FORM,
    Steps,
    bytes_of,
    class_column,
    column,
    digest_column,
    has_scores,
    kind_of,
    values_of,
)
from components.predict.digests import hexadecimal
from components.spec.prediction import MAX_BYTES

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
SUFFIX = ".arrow"
_OUTPUT = "output:"
# A file has at least one batch, and no more batches beyond these limits, so that readers need little memory.
_MOST_ROWS, _MOST_BYTES = 65536, 16 << 20


class PredictionWriter:
    """Writes the outputs for the examples of one file of the split. Use it as a context manager.

    Args:
        folder: Folder to write to.
        file: Number of the file within the split.
        max_bytes: The maximum number of bytes that files in the folder may have.
    """

    def __init__(self, folder: Path, file: int, max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._file, self._max_bytes = folder, file, max_bytes
        self._steps: Mapping[str, Steps] = {}
        self._row, self._rows, self._bytes, self._only_classes = 0, 0, 0, False
        self._form: tuple[Any, ...] = ()
        self._batches: list[dict[str, Array]] = []

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self._flush()

    def add(self, digests: Array, outputs: Mapping[str, Array], steps: Mapping[str, Steps] | None = None) -> None:
        """Add the outputs of the next N examples.

        Args:
            digests: Digests of the examples, [N].
            outputs: Output name -> values [N, ...].
            steps: Name of an output that has at most 256 different values -> these values, the same in every call.

        Raises:
            SpecError: An output has values other than numbers, strings, or bytes, or the files have more bytes than
                allowed.
        """
        self._steps = steps or {}
        form = tuple((name, kind_of(name, values), values.shape[1:]) for name, values in outputs.items())
        size = digests.nbytes + sum(map(bytes_of, outputs.values()))
        full = self._rows + len(digests) > _MOST_ROWS or self._bytes + size > _MOST_BYTES
        if full or form != self._form:
            self._flush()
        self._form = form
        self._batches.append({EXAMPLE: digests, **{_OUTPUT + name: values for name, values in outputs.items()}})
        self._rows += len(digests)
        self._bytes += size

    def _flush(self) -> None:
        if not self._batches:
            return
        # Converting and compressing batches one by one takes several times as long.
        whole = {name: np.concatenate([batch[name] for batch in self._batches]) for name in self._batches[0]}
        path = self._folder / f"{self._file:05d}-{self._row:012d}{SUFFIX}"
        write_atomically(path, _packed(whole, self._steps, classes=self._only_classes))
        self._row += self._rows
        self._rows, self._bytes, self._batches = 0, 0, []
        self._check_size()

    def _check_size(self) -> None:
        size = self._size()
        if size > self._max_bytes and not self._only_classes:
            self._only_classes = True
            reduced = [_reduce(path) for path in sorted(self._folder.glob(f"*{SUFFIX}"))]
            if any(reduced):
                logger.warning(
                    "the outputs would take more than %s bytes, so classes with the highest scores are stored instead "
                    "of scores; metrics that read scores need a larger evaluate.max_prediction_bytes",
                    f"{self._max_bytes:,}",
                )
            size = self._size()
        if size > self._max_bytes:
            shapes = ", ".join(f"{name} {list(shape)}" for name, _, shape in self._form)
            raise SpecError(
                f"the predictions of this model take more space than allowed, after {self._row:,} examples of a file",
                where="evaluate.max_prediction_bytes",
                bound=f"at most {self._max_bytes:,} bytes",
                measured=f"{size:,} bytes of {shapes}",
                remedy="make the task's postprocess() return only what the metrics read, such as the class of each "
                "pixel "
                "instead of a score for each class; or raise evaluate.max_prediction_bytes",
            )

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob(f"*{SUFFIX}"))


def _packed(whole: Mapping[str, Array], steps: Mapping[str, Steps], *, classes: bool) -> bytes:
    """The content of a file. With `classes`, it has classes instead of scores if there are scores."""

    def packed(name: str, values: Array) -> tuple[pa.Array, dict[str, Any]]:
        if name == EXAMPLE:
            return digest_column(values)
        if classes and has_scores(values):
            return class_column(values)
        return column(values, steps.get(name.removeprefix(_OUTPUT)))

    columns = {name: packed(name, values) for name, values in whole.items()}
    fields = [pa.field(name, each.type, metadata={FORM: json.dumps(form)}) for name, (each, form) in columns.items()]
    schema, sink = pa.schema(fields), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(pa.record_batch([each for each, _ in columns.values()], schema=schema))
    return bytes(sink.getvalue().to_pybytes())


def _reduce(path: Path) -> bool:
    """Store classes instead of scores in a file, which another worker may also do. Returns whether there are scores."""
    with pa.ipc.open_file(pa.BufferReader(path.read_bytes())) as opened:
        table = opened.read_all()
    if any(b"classes" in field.metadata[FORM] for field in table.schema):
        return True
    whole = {field.name: values_of(table.column(field.name), field) for field in table.schema}
    scores = [name for name, values in whole.items() if name != EXAMPLE and has_scores(values)]
    if scores:
        write_atomically(path, _packed(whole, {}, classes=True))
    return bool(scores)


class StoredPredictions:
    """Reads stored predictions in any order of batches. It can be pickled, and keeps one file in memory.

    Args:
        names: Names of files that `PredictionWriter` wrote. Other names are ignored.
        read: Returns the content of one of the files, and may verify its digest.
        place: Where the files are, for messages.

    Attributes:
        place: See the arguments.
    """

    def __init__(self, names: Iterable[str], read: Callable[[str], bytes], place: str) -> None:
        self._read, self.place = read, place
        starts: dict[int, list[int]] = defaultdict(list)
        self._names: dict[tuple[int, int], str] = {}
        for name in sorted(names):
            stem, found, _ = Path(name).name.rpartition(SUFFIX)
            if found:
                file, start = map(int, stem.split("-"))
                starts[file].append(start)
                self._names[file, start] = name
        self._starts = dict(starts)
        self._open: tuple[tuple[int, int], dict[str, Array]] | None = None
        self._scored: Callable[[str], bool] = _no_output

    def whose_scores_are_read(self, scored: Callable[[str], bool]) -> StoredPredictions:
        """The same, but it refuses to read classes if scores are needed.

        Args:
            scored: Whether the scores of an output are needed, by its name. It can be pickled.
        """
        made = copy.copy(self)
        made._open, made._scored = None, scored
        return made

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None}

    def rows(self, file: int, first: int, digests: Array) -> dict[str, Array]:
        """The outputs for consecutive examples of one file of the split.

        Args:
            file: Number of the file within the split.
            first: Number of the first example within the file.
            digests: Digests of the N examples, [N].

        Returns:
            Output name -> values [N, ...].

        Raises:
            TamperedError: The stored predictions belong to different examples.
        """
        starts, parts, row, end = self._starts.get(file, []), [], first, first + len(digests)
        while row < end:
            index = bisect_right(starts, row) - 1
            columns = self._columns((file, starts[index])) if index >= 0 else {EXAMPLE: digests[:0]}
            begin = row - (starts[index] if index >= 0 else 0)
            part = {name: values[begin : begin + end - row] for name, values in columns.items()}
            count = len(part[EXAMPLE])
            expected = digests[row - first : row - first + count]
            if not count or part[EXAMPLE].tobytes() != expected.tobytes():
                raise self._unlike(digests[row - first : row - first + 1], part[EXAMPLE][:1])
            parts.append(part)
            row += count
        names = [name for name in parts[0] if name != EXAMPLE] if parts else []
        one = len(parts) == 1
        return {
            name.removeprefix(_OUTPUT): parts[0][name] if one else np.concatenate([part[name] for part in parts])
            for name in names
        }

    def _columns(self, key: tuple[int, int]) -> dict[str, Array]:
        if self._open is None or self._open[0] != key:
            self._open = None
            with pa.ipc.open_file(pa.BufferReader(self._read(self._names[key]))) as opened:
                table = opened.read_all()
            for field in table.schema:
                if b'"classes"' in field.metadata[FORM] and self._scored(field.name.removeprefix(_OUTPUT)):
                    raise self._lacks_scores(field.name.removeprefix(_OUTPUT))
            self._open = key, {field.name: values_of(table.column(field.name), field) for field in table.schema}
        return self._open[1]

    def _lacks_scores(self, output: str) -> SpecError:
        return SpecError(
            f"a metric reads the scores of the output {output!r}, which would take more than "
            "evaluate.max_prediction_bytes, so only the class with the highest score is stored",
            where="evaluate.metrics",
            bound="metrics that read only classes, such as accuracy, step_accuracy, and mean_iou",
            measured=self.place,
            remedy="raise evaluate.max_prediction_bytes, remove the metric, or make the task's postprocess() return "
            "less",
        )

    def _unlike(self, expected: Array, found: Array) -> TamperedError:
        return TamperedError(
            "the stored predictions belong to different examples than the evaluation",
            where=self.place,
            bound=f"an example with the digest {hexadecimal(expected)[0]}",
            measured=hexadecimal(found)[0] if len(found) else "no such example",
            remedy="delete the folder of the predictions, and run again when nothing else writes to the artifacts",
        )


def _no_output(_: str) -> bool:
    return False


def in_folder(folder: Path) -> StoredPredictions:
    """Read files that `PredictionWriter` wrote to a temporary folder of this process, without verification."""
    return StoredPredictions(
        (path.name for path in folder.iterdir()), functools.partial(_read_from, folder), str(folder)
    )


def _read_from(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()
