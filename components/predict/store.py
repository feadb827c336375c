"""Stored predictions: Arrow files with one row for each example, which pandas and `pyarrow.dataset` read too.

The column `example` has the example's digest. Each output has a column of its own, whose values [N, ...] are flattened
to one list for each example. A file holds consecutive examples of one file of the split, in the same order:
`00002-000000008000.arrow` begins with example 8,000 of the third file.
"""

from __future__ import annotations

import functools
import json
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.core.errors import SpecError, TamperedError
from components.core.files import write_atomically
from components.predict.digests import DIGEST_BYTES, hexadecimal
from components.ranges.affine import dequantize, quantize
from components.spec.prediction import MAX_BYTES

Array = npt.NDArray[Any]
SUFFIX = ".arrow"
EXAMPLE = "example"
_OUTPUT = "output:"
_FORM = b"form"
# A file has at least one batch, and no further one beyond these limits, so that readers need little memory.
_MOST_ROWS, _MOST_BYTES = 65536, 16 << 20


class Steps(NamedTuple):
    """The real values of an output that is quantized to 8 bits.

    Attributes:
        scale, zero_point: A real value is scale x (integer - zero_point).
        dtype: int8 or uint8.
    """

    scale: float
    zero_point: int
    dtype: np.dtype[Any]

    def coded(self, values: Array) -> pa.Array:
        """Return values [N], float32, by their places among the 256 real values: one byte each instead of four."""
        low = np.iinfo(self.dtype).min
        real = dequantize(np.arange(low, low + 256), self.scale, self.zero_point)
        places = (quantize(values, self.scale, self.zero_point, self.dtype).astype(np.int16) - low).astype(np.uint8)
        if not np.array_equal(real[places], values):
            return pa.array(values)
        return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(real))


class PredictionWriter:
    """Writes the outputs for the examples of one file of the split. Use it as a context manager.

    Args:
        folder: Folder to write to.
        file: Number of the file within the split.
        max_bytes: The most bytes that files in the folder may have.
    """

    def __init__(self, folder: Path, file: int, max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._file, self._max_bytes = folder, file, max_bytes
        self._steps: Mapping[str, Steps] = {}
        self._row, self._rows, self._bytes = 0, 0, 0
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
            steps: Name of an output that has at most 256 different values -> these, the same in every call.

        Raises:
            SpecError: An output has no numbers, strings, or bytes, or the files have more bytes than allowed.
        """
        self._steps = steps or {}
        form = tuple((name, _kind(name, values), values.shape[1:]) for name, values in outputs.items())
        size = digests.nbytes + sum(map(_bytes_of, outputs.values()))
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
        columns = {
            name: _examples(values) if name == EXAMPLE else _column(values, self._steps.get(name.removeprefix(_OUTPUT)))
            for name, values in whole.items()
        }
        schema = pa.schema(
            [pa.field(name, column.type, metadata={_FORM: json.dumps(form)})
             for name, (column, form) in columns.items()]
        )  # fmt: skip
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_batch(pa.record_batch([column for column, _ in columns.values()], schema=schema))
        write_atomically(self._folder / f"{self._file:05d}-{self._row:012d}{SUFFIX}", sink.getvalue().to_pybytes())
        self._row += self._rows
        self._rows, self._bytes, self._batches = 0, 0, []
        self._check_size()

    def _check_size(self) -> None:
        size = sum(path.stat().st_size for path in self._folder.glob(f"*{SUFFIX}"))
        if size > self._max_bytes:
            shapes = ", ".join(f"{name} {list(shape)}" for name, _, shape in self._form)
            raise SpecError(
                f"the predictions of this model take more space than allowed, after {self._row:,} examples of a file",
                where="evaluate.max_prediction_bytes",
                bound=f"at most {self._max_bytes:,} bytes",
                measured=f"{size:,} bytes of {shapes}",
                remedy="let the task's postprocess return only what the metrics read, such as the class of each pixel "
                "instead of a score for each class; or raise evaluate.max_prediction_bytes",
            )


class StoredPredictions:
    """Reads stored predictions in any order of batches. It can be pickled, and holds one file in memory.

    Args:
        names: Names of files that `PredictionWriter` wrote. Other names are ignored.
        read: Returns the content of one of them, and may verify its digest.
        place: Where they are, for messages.

    Attributes:
        place: As given.
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
            self._open = key, {field.name: _values(table.column(field.name), field) for field in table.schema}
        return self._open[1]

    def _unlike(self, expected: Array, found: Array) -> TamperedError:
        return TamperedError(
            "the stored predictions belong to different examples than the evaluation",
            where=self.place,
            bound=f"an example with the digest {hexadecimal(expected)[0]}",
            measured=hexadecimal(found)[0] if len(found) else "no such example",
            remedy="delete the folder of the predictions, and run again when nothing else writes to the artifacts",
        )


def in_folder(folder: Path) -> StoredPredictions:
    """Read what `PredictionWriter` wrote to a temporary folder of this process, without verification."""
    return StoredPredictions(
        (path.name for path in folder.iterdir()), functools.partial(_read_from, folder), str(folder)
    )


def _read_from(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def _kind(name: str, values: Array) -> str:
    """What the values of an output are: a type of numbers, or a kind of strings or bytes."""
    kind = values.dtype.kind
    if kind in "biuf":
        return values.dtype.str
    if kind in "US":
        return kind
    for one in (str, bytes):
        if kind == "O" and all(isinstance(each, one) for each in values.flat):
            return one.__name__
    raise SpecError(
        f"the output {name!r} cannot be stored",
        where="task",
        bound="numbers, strings, or bytes [batch, ...]",
        measured=f"an array of {values.dtype}",
        remedy="let the task's postprocess return such an array: pad lists of different lengths",
    )


def _bytes_of(values: Array) -> int:
    return sum(map(len, values.flat)) if values.dtype.kind == "O" else values.nbytes


def _examples(digests: Array) -> tuple[pa.Array, dict[str, Any]]:
    buffers = [None, pa.py_buffer(digests.tobytes())]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIGEST_BYTES), len(digests), buffers), {}


def _column(values: Array, steps: Steps | None) -> tuple[pa.Array, dict[str, Any]]:
    """One list of values for each example, and what restores the array."""
    kind, form = values.dtype.kind, {"dtype": values.dtype.str, "shape": list(values.shape[1:])}
    size = math.prod(values.shape[1:])
    if kind in "OUS":
        form["dtype"] = kind
    if not size:
        return pa.nulls(len(values)), form
    flat: Any = values.reshape(-1)
    if kind in "OUS":
        texts = flat.tolist()
        flat = pa.array(texts, pa.large_utf8() if texts and isinstance(texts[0], str) else pa.large_binary())
    else:
        flat = pa.array(flat) if steps is None else steps.coded(flat)
    return (flat if not form["shape"] else pa.FixedSizeListArray.from_arrays(flat, size)), form


def _values(column: pa.ChunkedArray, field: pa.Field) -> Array:
    if field.name == EXAMPLE:
        joined = b"".join(
            chunk.buffers()[1][chunk.offset * DIGEST_BYTES : (chunk.offset + len(chunk)) * DIGEST_BYTES].to_pybytes()
            for chunk in column.chunks
        )
        return np.frombuffer(joined, np.dtype((np.void, DIGEST_BYTES)))
    form = json.loads(field.metadata[_FORM])
    shape = (len(column), *form["shape"])
    if pa.types.is_null(column.type):
        return np.empty(shape, form["dtype"])
    chunks = [chunk.flatten() if form["shape"] else chunk for chunk in column.chunks]
    parts = [
        chunk.dictionary.to_numpy()[chunk.indices.to_numpy()]
        if isinstance(chunk, pa.DictionaryArray)
        else chunk.to_numpy(zero_copy_only=False)
        for chunk in chunks
    ]
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if form["dtype"] in {"U", "S"}:
        whole = whole.astype(form["dtype"])
    return whole.reshape(shape)
