"""Outputs as columns of Arrow files, one row for each example, and back.

A column has the flattened values of each example. Its metadata restore type and shape.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.core.errors import SpecError
from components.predict.digests import DIGEST_BYTES
from components.ranges.affine import dequantize, quantize

Array = npt.NDArray[Any]
EXAMPLE = "example"
FORM = b"form"


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
        """Return values [N], float32, by their positions among the 256 real values: one byte each instead of four."""
        low = np.iinfo(self.dtype).min
        real = dequantize(np.arange(low, low + 256), self.scale, self.zero_point)
        places = (quantize(values, self.scale, self.zero_point, self.dtype).astype(np.int16) - low).astype(np.uint8)
        if not np.array_equal(real[places], values):
            return pa.array(values)
        return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(real))


def kind_of(name: str, values: Array) -> str:
    """The type of an output's values: a numeric type, or a kind of strings or bytes."""
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
        remedy="make the task's postprocess() return such an array: pad lists of different lengths",
    )


def bytes_of(values: Array) -> int:
    """Size of an output's values, in bytes."""
    return sum(map(len, values.flat)) if values.dtype.kind == "O" else values.nbytes


def digest_column(digests: Array) -> tuple[pa.Array, dict[str, Any]]:
    """The column of the digests of examples, [N]."""
    buffers = [None, pa.py_buffer(digests.tobytes())]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIGEST_BYTES), len(digests), buffers), {}


def column(values: Array, steps: Steps | None) -> tuple[pa.Array, dict[str, Any]]:
    """One list of values for each example, and the metadata to restore the array."""
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


def has_scores(values: Array) -> bool:
    """Whether the values of an output [N, ...] can be scores of classes along the last axis."""
    return values.dtype.kind == "f" and values.ndim > 1 and 2 <= values.shape[-1] <= np.iinfo(np.uint16).max


def class_column(values: Array) -> tuple[pa.Array, dict[str, Any]]:
    """The first class with the highest score, for scores [N, ..., C], instead of C scores."""
    classes = values.shape[-1]
    chosen = values.argmax(axis=-1).astype(np.uint8 if classes <= 256 else np.uint16)
    stored, form = column(chosen, None)
    return stored, {**form, "scores": values.dtype.str, "classes": classes}


def values_of(column: pa.ChunkedArray, field: pa.Field) -> Array:
    """Restore the array of a column. If only classes are stored, the score of the class is 1, and others are 0."""
    form = json.loads(field.metadata.get(FORM, b"{}")) if field.metadata else {}
    whole = _values(column, field)
    if "classes" not in form:
        return whole
    return np.eye(form["classes"], dtype=form["scores"])[whole]


def _values(column: pa.ChunkedArray, field: pa.Field) -> Array:
    if field.name == EXAMPLE:
        joined = b"".join(
            chunk.buffers()[1][chunk.offset * DIGEST_BYTES : (chunk.offset + len(chunk)) * DIGEST_BYTES].to_pybytes()
            for chunk in column.chunks
        )
        return np.frombuffer(joined, np.dtype((np.void, DIGEST_BYTES)))
    form = json.loads(field.metadata[FORM])
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
